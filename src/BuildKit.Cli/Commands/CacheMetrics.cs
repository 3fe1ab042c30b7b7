using System.Globalization;
using System.Text;
using BuildKit.Oci;
using BuildKit.Protocol.Control;

namespace BuildKit.Cli.Commands;

/// <summary>Counts of what was cached and what was not (spec 08 §1.6).</summary>
internal sealed class CacheMetrics : IDisposable
{
    private readonly Stream _output;
    private readonly string _name;
    private readonly CommandContext _context;
    private readonly long _begin;
    private readonly Dictionary<string, Vertex> _vertices = new(StringComparer.Ordinal);

    private CacheMetrics(Stream output, string name, CommandContext context)
    {
        _output = output;
        _name = name;
        _context = context;
        _begin = context.Time.GetTimestamp();
    }

    /// <summary>Opens where the counts go; null when none are wanted.</summary>
    public static CacheMetrics? Open(CommandContext context, string target)
    {
        if (target.Length == 0)
            return null;
        return target switch
        {
            "stdout" => new CacheMetrics(context.Output, "/dev/stdout", context),
            "stderr" => new CacheMetrics(context.ErrorOutput, "/dev/stderr", context),
            _ => new CacheMetrics(
                new FileStream(target, new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite }),
                target,
                context),
        };
    }

    /// <summary>Takes a message in.</summary>
    public void Update(StatusResponse message)
    {
        foreach (var vertex in message.Vertexes)
            _vertices[vertex.Digest] = vertex;
    }

    /// <summary>Writes the missed steps and the counts.</summary>
    public void Write()
    {
        _context.Log.Info($"writing JSON cache metrics to {_name}");
        var (completed, userTotal, userCached, userCompleted, from, miss) = (0, 0, 0, 0, 0, 0);
        foreach (var vertex in _vertices.Values)
        {
            var isCompleted = vertex.Completed is not null;
            completed += isCompleted ? 1 : 0;
            if (IsInternal(vertex.Name))
                continue;
            userTotal++;
            userCached += vertex.Cached ? 1 : 0;
            userCompleted += isCompleted ? 1 : 0;
            var isFrom = IsFrom(vertex.Name);
            from += isFrom ? 1 : 0;
            if (vertex.Cached || isFrom)
                continue;
            miss++;
            Put($"cache miss: {vertex.Name}\n");
        }
        var json = new CanonicalJsonWriter();
        json.WriteStartObject();
        foreach (var (name, value) in (ReadOnlySpan<(string, long)>)
            [
                ("total", _vertices.Count), ("completed", completed), ("user_total", userTotal), ("user_cached", userCached),
                ("user_completed", userCompleted), ("user_cacheable", userTotal - from), ("from", from), ("miss", miss),
                ("client_duration_ms", (long)_context.Time.GetElapsedTime(_begin).TotalMilliseconds),
            ])
        {
            json.WriteName(name);
            json.WriteNumber(value);
        }
        json.WriteEndObject();
        Put(Encoding.UTF8.GetString(json.WrittenSpan) + "\n");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_output is FileStream)
            _output.Dispose();
    }

    private static bool IsInternal(string name) =>
        name.StartsWith("[internal]", StringComparison.Ordinal) || name.StartsWith("[auth]", StringComparison.Ordinal)
        || name.StartsWith("importing cache", StringComparison.Ordinal) || name.StartsWith("exporting ", StringComparison.Ordinal);

    private static bool IsFrom(string name)
    {
        var end = name.LastIndexOf("] FROM", StringComparison.Ordinal);
        return end > 0 && name[0] == '[';
    }

    private void Put(string text) => _output.Write(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{text}")));
}
