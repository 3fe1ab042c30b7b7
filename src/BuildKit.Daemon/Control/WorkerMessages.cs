using BuildKit.Daemon.Solving;
using BuildKit.Llb;
using BuildKit.Protocol.Types;

namespace BuildKit.Daemon.Control;

/// <summary>Workers as the wire describes them.</summary>
internal static class WorkerMessages
{
    /// <summary>Name of the package clients compare.</summary>
    public const string Package = "github.com/moby/buildkit";

    /// <summary>Version of the reference whose behaviour this daemon has.</summary>
    public const string Version = "v0.20.0";

    /// <summary>Version as <c>Info</c> and worker records tell it.</summary>
    public static BuildkitVersion VersionMessage() => new() { Package = Package, Version = Version, Revision = "" };

    /// <summary>Id, labels and platforms.</summary>
    public static WorkerRecord Brief(WorkerDescription worker)
    {
        var record = new WorkerRecord { ID = worker.Id };
        foreach (var (key, value) in worker.Labels)
            record.Labels.Add(key, value);
        record.Platforms.AddRange(worker.Platforms.Select(PlatformConversion.ToProto));
        return record;
    }

    /// <summary>Everything.</summary>
    public static WorkerRecord Full(WorkerDescription worker)
    {
        var record = Brief(worker);
        record.BuildkitVersion = VersionMessage();
        foreach (var rule in worker.GcPolicy)
            record.GCPolicy.Add(new GCPolicy
            {
                All = rule.All,
                KeepDuration = rule.KeepDuration.Ticks * TimeSpan.NanosecondsPerTick,
                ReservedSpace = rule.ReservedSpace,
                MaxUsedSpace = rule.MaxUsedSpace,
                MinFreeSpace = rule.MinFreeSpace,
                Filters = { rule.Filters },
            });
        return record;
    }
}
