using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Worker.Sources;
using Google.Protobuf;

namespace BuildKit.Daemon.Attesting;

/// <summary>A definition as provenance lists it: its operations as numbered steps, inputs first (spec 07 §9.3).</summary>
internal sealed class BuildSteps
{
    private readonly Dictionary<string, int> _numbers;
    private readonly List<Op> _steps;

    private BuildSteps(Dictionary<string, int> numbers, List<Op> steps) => (_numbers, _steps) = (numbers, steps);

    /// <summary>The steps of a definition; null when it is empty.</summary>
    /// <exception cref="LlbException">It is broken.</exception>
    public static BuildSteps? Of(Definition? definition)
    {
        if (definition is null || definition.Def.Count == 0)
            return null;
        var ops = new Dictionary<string, Op>(StringComparer.Ordinal);
        var last = "";
        foreach (var bytes in definition.Def)
        {
            last = Digest.Sha256(bytes.Span).ToString();
            ops[last] = Parse(bytes);
        }
        if (ops[last] is not { OpCase: Op.OpOneofCase.None, Inputs.Count: 1 })
            throw new LlbException($"invalid last vertex: {ops[last].OpCase} with {ops[last].Inputs.Count} inputs");
        var numbers = new Dictionary<string, int>(StringComparer.Ordinal);
        var steps = new List<Op>();
        // Not by recursion: a graph may be deeper than a thread's stack.
        var path = new Stack<(string Digest, int Next)>([(last, 0)]);
        var seen = new HashSet<string>(StringComparer.Ordinal) { last };
        while (path.TryPop(out var top))
        {
            if (!ops.TryGetValue(top.Digest, out var op))
                throw new LlbException($"failed to find input {top.Digest}");
            if (top.Next < op.Inputs.Count)
            {
                path.Push((top.Digest, top.Next + 1));
                if (seen.Add(op.Inputs[top.Next].Digest))
                    path.Push((op.Inputs[top.Next].Digest, 0));
                continue;
            }
            numbers.Add(top.Digest, steps.Count);
            steps.Add(op);
        }
        return new BuildSteps(numbers, steps);
    }

    /// <summary>The step of an operation; null when it is not among them.</summary>
    /// <param name="digest">Digest of the operation's bytes as the frontend sent them.</param>
    public string? NameOf(string digest) => _numbers.TryGetValue(digest, out var number) ? $"step{number}" : null;

    /// <summary>Writes the members <c>llbDefinition</c> and <c>digestMapping</c>.</summary>
    public void Write(CanonicalJsonWriter json)
    {
        json.WriteName("llbDefinition");
        json.WriteStartArray();
        foreach (var (number, op) in _steps.Index())
        {
            var shown = op.Clone();
            shown.Inputs.Clear();
            json.WriteStartObject();
            json.WriteText("id", $"step{number}");
            json.WriteName("op");
            LlbJson.Write(json, shown);
            json.WriteStrings("inputs", [.. op.Inputs.Select(input => $"step{_numbers[input.Digest]}:{input.Index}")]);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteMap("digestMapping", _numbers.ToDictionary(entry => entry.Key, entry => $"step{entry.Value}", StringComparer.Ordinal));
    }

    private static Op Parse(ByteString bytes)
    {
        Op op;
        try
        {
            op = Op.Parser.ParseFrom(bytes);
        }
        catch (InvalidProtocolBufferException error)
        {
            throw new LlbException($"failed to parse llb proto op: {error.Message}", error);
        }
        if (op.Source is { } source)
        {
            source.Attrs.Remove("local.session");
            source.Attrs.Remove("local.unique");
            // An image is read by many: no credentials of addresses in it.
            if (IsWebAddress(source.Identifier))
                source.Identifier = RedactedUrl.Of(source.Identifier);
            if (source.Attrs.TryGetValue("git.fullurl", out var url) && IsWebAddress(url))
                source.Attrs["git.fullurl"] = RedactedUrl.Of(url);
        }
        return op;
    }

    private static bool IsWebAddress(string address) =>
        address.StartsWith("http://", StringComparison.Ordinal) || address.StartsWith("https://", StringComparison.Ordinal);
}
