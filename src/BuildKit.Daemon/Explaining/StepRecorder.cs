using System.Globalization;
using BuildKit.Llb;
using BuildKit.Protocol.Explain;
using BuildKit.Protocol.Pb;
using BuildKit.RemoteCache.Import;
using BuildKit.Solver;
using BuildKit.Storage.Checksums;
using BuildKit.Worker.Ops;
using Google.Protobuf;
using ObservedVertex = BuildKit.Solver.Vertex;

namespace BuildKit.Daemon.Explaining;

/// <summary>
/// Remembers every executed step with what entered its key, so that a later build can be told what differs. Lists of files
/// are made of the digests that were computed for the key anyway, while the step runs; nothing is read or hashed for it,
/// and writing is left to the store's queue.
/// </summary>
public sealed class StepRecorder(StepStore store, TimeProvider time) : ISolveObserver
{
    /// <summary>Stands for the error of an execution that nobody waited for any more.</summary>
    internal const string Canceled = "canceled";

    private const int LargestOperation = 256 << 10;

    /// <inheritdoc/>
    public IStepObservation? OnExecuting(ObservedStep step)
    {
        var record = Describe(step);
        record.Started = Now();
        return new Observation(this, step, record, ListAsync(step));
    }

    /// <inheritdoc/>
    public async Task OnImportedAsync(ObservedStep step, CacheRecord record, IResult? result)
    {
        var kept = Describe(step);
        kept.Started = kept.Completed = Now();
        kept.ImportedFrom = ImportName(record.Manager.Id);
        var lists = await ListAsync(step);
        _ = store.AddAsync(kept, result is null ? [] : [result.Id], lists, []);
    }

    /// <inheritdoc/>
    public void OnContentUnreadable(ObservedStep step, int input, Exception error)
    {
        var record = Describe(step);
        record.Started = record.Completed = Now();
        record.Unreadable = true;
        record.Error = error.Message;
        _ = store.AddAsync(record, [], [], step.Builds());
    }

    /// <summary>The name an import is known by: a source of it has a number behind.</summary>
    internal static string ImportName(string managerId)
    {
        var mark = managerId.LastIndexOf('#');
        return mark > 0 && managerId.AsSpan(mark + 1).IndexOfAnyExceptInRange('0', '9') < 0 ? managerId[..mark] : managerId;
    }

    private StepStore Store => store;

    private long Now() => time.GetUtcNow().ToUnixTimeMilliseconds();

    private static StepRecord Describe(ObservedStep step)
    {
        var vertex = step.Vertex;
        var op = (vertex.Operation as LlbVertex)?.Op;
        var record = new StepRecord
        {
            Vertex = vertex.Digest.ToString(),
            Name = vertex.Name,
            Kind = KindOf(op),
            Position = op?.Source is { } fetched ? OperationDifferences.SourceName(fetched.Identifier) : PositionOf(vertex),
            Operation = step.OperationDigest.ToString(),
            IgnoreCache = vertex.Options.IgnoreCache,
            Pin = (step.Operation as SourceOperation)?.Pin ?? "",
        };
        record.ReadsClient = record.Kind == "local";
        if (record.Operation.Length == 0 && step.MapDigests.Count > 0)
            record.Operation = step.MapDigests[^1].ToString();
        record.LoadFailures.AddRange(step.FailedLoads.Select(failed => new LoadFailure { Result = failed.ResultId, Error = failed.Error.Message }));
        record.Keys.AddRange(step.MapDigests.Select(digest => digest.ToString()));
        if (op is not null && op.CalculateSize() <= LargestOperation)
            record.Op = op.ToByteString();
        foreach (var source in vertex.Options.CacheSources)
            record.Imports.Add(ImportName(source.Id));
        for (var i = 0; i < vertex.Inputs.Count; i++)
        {
            var below = vertex.Inputs[i].Vertex;
            var input = new StepInput { Vertex = below.Digest.ToString(), Name = below.Name };
            if (i < step.Inputs.Count)
            {
                var known = step.Inputs[i];
                input.Result = known.Result?.Id ?? "";
                input.Selector = known.Map is { Selector.IsEmpty: false } map ? map.Selector.ToString() : "";
                input.Content = known.Content.ToString();
                // Keys of clients' directories hold for one session.
                input.Classes.AddRange(known.Keys
                    .Where(key => key is { Dependencies.Count: 0, Digest.Algorithm: not "random" })
                    .Select(key => key.Digest.ToString()).Distinct(StringComparer.Ordinal));
            }
            record.Inputs.Add(input);
        }
        return record;
    }

    private static string KindOf(Op? op) => op?.OpCase switch
    {
        null or Op.OpOneofCase.None => "",
        Op.OpOneofCase.Source => op.Source.Identifier.Split("://", 2)[0],
        Op.OpOneofCase.Exec => "exec",
        Op.OpOneofCase.File => "file",
        Op.OpOneofCase.Merge => "merge",
        Op.OpOneofCase.Diff => "diff",
        _ => "build",
    };

    /// <summary>Where a step stands: what a Dockerfile's step has in brackets, without platform; else how many steps are below.</summary>
    private static string PositionOf(ObservedVertex vertex)
    {
        if (vertex.Name.StartsWith('[') && vertex.Name.IndexOf(']', StringComparison.Ordinal) is > 0 and var end)
        {
            var words = vertex.Name[1..end].Split(' ');
            return string.Join(' ', words.Length > 1 && words[0].Contains('/', StringComparison.Ordinal) ? words[1..] : words);
        }
        var depth = 0;
        for (var below = vertex; below.Inputs.Count > 0; below = below.Inputs[0].Vertex)
            depth++;
        return depth.ToString(CultureInfo.InvariantCulture);
    }

    /// <summary>Files of the contents a step looked at, unless they are remembered.</summary>
    private async Task<IReadOnlyList<(string Content, byte[] List)>> ListAsync(ObservedStep step)
    {
        // The execution goes on beside.
        await Task.Yield();
        var lists = new List<(string, byte[])>();
        foreach (var input in step.Inputs)
        {
            var content = input.Content.ToString();
            if (content.Length == 0 || input.Map?.ListContent is not { } list || store.HasList(content))
                continue;
            if (await list(input.Result, CancellationToken.None) is ContentListing files)
                lists.Add((content, files.Save()));
        }
        return lists;
    }

    private sealed class Observation(
        StepRecorder recorder, ObservedStep step, StepRecord record, Task<IReadOnlyList<(string Content, byte[] List)>> listing) : IStepObservation
    {
        private readonly IReadOnlyList<string> _builds = step.Builds();

        public async Task CompletedAsync(IReadOnlyList<IResult?> outputs, Exception? error)
        {
            record.Completed = recorder.Now();
            record.Error = error is OperationCanceledException ? Canceled : error?.Message ?? "";
            IReadOnlyList<(string Content, byte[] List)> lists;
            try
            {
                lists = await listing;
            }
            catch (Exception failure) when (failure is InvalidOperationException or InvalidDataException or IOException)
            {
                // Without its files the step can still be told apart by digest.
                lists = [];
            }
            // Builds that joined while it ran are told the same.
            _ = recorder.Store.AddAsync(
                record, [.. outputs.Where(output => output is not null).Select(output => output!.Id).Distinct(StringComparer.Ordinal)], lists,
                [.. _builds.Union(step.Builds(), StringComparer.Ordinal)]);
        }
    }
}
