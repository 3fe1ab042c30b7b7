using System.Text.Json;
using BuildKit.Linux.Patterns;
using BuildKit.Protocol.Pb;
using BuildKit.Session.FileSync;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Executor;
using BuildKit.Worker.Ops;
using BuildKit.Worker.Ops.Digests;
using BuildKit.Worker.Sessions;

namespace BuildKit.Worker.Sources.Local;

/// <summary>A client's directory, <c>local://</c>: transferred, or brought up to date from the last transfer (spec 06 §9.5).</summary>
public sealed class LocalSource(IClientSessions sessions, IRefStore refs, string temporaryDirectory) : ISource
{
    private const string RecordType = "source.local";
    private const string SharedKeyName = "local.sharedKey";
    private const string SharedKeyIndex = "local.sharedKey:";

    /// <inheritdoc/>
    public IReadOnlyList<string> Schemes => ["local"];

    /// <inheritdoc/>
    public ISourceInstance Open(SourceOp operation, BuildKit.Oci.Platform platform)
    {
        var attributes = new Attributes(operation.Identifier["local://".Length..]);
        foreach (var (key, value) in operation.Attrs)
            attributes = attributes.With(key, value);
        return new Instance(this, attributes);
    }

    private async Task<IImmutableRef?> FetchAsync(IOperationContext context, Attributes attributes, CancellationToken cancellationToken)
    {
        if (attributes.SessionId.Length > 0)
        {
            ClientSession? session = null;
            try
            {
                session = await sessions.GetAsync(attributes.SessionId, cancellationToken);
            }
            catch (BuildKit.Protocol.Grpc.RpcException)
            {
                // Its client may be gone while another one waits for the same files.
            }
            if (session is not null)
                return await ReceiveAsync(context, attributes, session, cancellationToken);
        }
        return await sessions.AnyAsync(
            context.SessionIds, session => ReceiveAsync(context, attributes, session, cancellationToken), cancellationToken);
    }

    private async Task<IImmutableRef> ReceiveAsync(
        IOperationContext context, Attributes attributes, ClientSession session, CancellationToken cancellationToken)
    {
        if (!session.Supports("/moby.filesync.v1.FileSync/DiffCopy"))
            throw new InvalidOperationException("no local sources enabled");
        var sharedKey = $"{attributes.Name}:{attributes.SharedKeyHint}:{session.SharedKey}";
        var mutable = await FindEarlierAsync(sharedKey, cancellationToken) ?? await refs.NewAsync(
            null,
            new RefOptions { RecordType = RecordType, Description = "local source for " + attributes.Name },
            cancellationToken);

        // While it is changed, what is on disk is neither the old nor the new tree: unless all goes well it must not be
        // the base of another transfer, not even when the daemon is killed.
        mutable.Metadata.Retain = false;
        var complete = false;
        try
        {
            var checksums = TransferChecksums.Of(mutable.Metadata);
            var directory = Path.Combine(temporaryDirectory, Path.GetRandomFileName());
            Directory.CreateDirectory(directory);
            await using (var lease = await (await mutable.MountAsync(readOnly: false, cancellationToken)).AcquireAsync(cancellationToken))
            {
                var isPlain = lease.Mounts is [{ Type: "bind" }];
                var target = isPlain ? lease.Mounts[0].Source : directory;
                if (!isPlain)
                    Linux.Mounts.MountAll([.. lease.Mounts.Select(Bundle.ToMountPoint)], target);
                try
                {
                    var progress = StatusProgress.Later(context.Progress, $"transferring {attributes.Name}:");
                    await FileSyncClient.ReceiveAsync(
                        session.Channel, attributes.Name,
                        attributes.Filter, target,
                        new ReceiveOptions
                        {
                            IgnoresExisting = attributes.Differ == "none",
                            Observer = checksums,
                            Progress = new ThrottledProgress(progress, "transferring").Report,
                        },
                        cancellationToken);
                    progress.Done();
                }
                finally
                {
                    if (!isPlain)
                        Linux.Mounts.UnmountAll(target);
                }
            }
            Directory.Delete(directory);
            mutable.Metadata.Set(SharedKeyName, sharedKey, SharedKeyIndex + sharedKey);
            await checksums.SaveAsync(mutable.Metadata, cancellationToken);
            mutable.Metadata.Retain = true;
            var snapshot = await mutable.CommitAsync(cancellationToken);
            complete = true;
            return snapshot;
        }
        finally
        {
            if (!complete)
            {
                mutable.Metadata.Retain = false;
                await mutable.DisposeAsync();
            }
        }
    }

    private async Task<IMutableRef?> FindEarlierAsync(string sharedKey, CancellationToken cancellationToken)
    {
        foreach (var id in await refs.SearchAsync(SharedKeyIndex + sharedKey, cancellationToken))
        {
            try
            {
                return await refs.GetMutableAsync(id, RefOptions.Default, cancellationToken);
            }
            catch (Exception exception) when (exception is RefLockedException or RefNotFoundException or InvalidOperationException)
            {
                // In use by another build, or gone: the next one, or a fresh one.
            }
        }
        return null;
    }

    private sealed class Instance(LocalSource source, Attributes attributes) : ISourceInstance
    {
        public SourceMaterial Material => new LocalMaterial(attributes.Name);

        public Task<SourceKey> GetKeyAsync(IOperationContext context, int index, CancellationToken cancellationToken)
        {
            var sessionId = attributes.SessionId.Length > 0 ? attributes.SessionId : context.SessionIds.FirstOrDefault("");
            if (sessionId.Length == 0)
                throw new InvalidOperationException("could not access local files without session");
            return Task.FromResult(new SourceKey(
                SourceDigest.LocalKey(attributes.Name, sessionId, attributes.IncludePatterns, attributes.ExcludePatterns, attributes.FollowPaths), IsLast: true));
        }

        public Task<IImmutableRef?> FetchAsync(IOperationContext context, CancellationToken cancellationToken) =>
            source.FetchAsync(context, attributes, cancellationToken);
    }

    private sealed record Attributes(string Name)
    {
        public string SessionId { get; init; } = "";

        public IReadOnlyList<string>? IncludePatterns { get; init; }

        public IReadOnlyList<string>? ExcludePatterns { get; init; }

        public IReadOnlyList<string>? FollowPaths { get; init; }

        public string SharedKeyHint { get; init; } = "";

        public string Differ { get; init; } = "";

        public FilterOptions Filter => new()
        {
            IncludePatterns = IncludePatterns,
            ExcludePatterns = ExcludePatterns,
            FollowPaths = FollowPaths,
        };

        public Attributes With(string key, string value) => key switch
        {
            "local.session" => WithSession(value),
            "local.includepattern" => this with { IncludePatterns = Strings(value) },
            "local.excludepatterns" => this with { ExcludePatterns = Strings(value) },
            "local.followpaths" => this with { FollowPaths = Strings(value) },
            "local.sharedkeyhint" => this with { SharedKeyHint = value },
            "local.differ" => this with { Differ = value is "none" or "metadata" ? value : "" },
            _ => this,
        };

        private Attributes WithSession(string value)
        {
            var (name, sessionId) = SourceDigest.LocalSession(Name, value);
            return this with { Name = name, SessionId = sessionId };
        }

        private static List<string>? Strings(string json)
        {
            using var document = JsonDocument.Parse(json);
            return document.RootElement.ValueKind == JsonValueKind.Null
                ? null
                : [.. document.RootElement.EnumerateArray().Select(item => item.GetString() ?? "")];
        }
    }
}
