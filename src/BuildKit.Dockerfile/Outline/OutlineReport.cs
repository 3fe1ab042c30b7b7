using System.Text;
using BuildKit.Dockerfile.Stages;
using BuildKit.Oci;

namespace BuildKit.Dockerfile.Outline;

/// <summary>What a target takes: arguments, secrets, ssh agents (spec 05 §10).</summary>
internal sealed class OutlineReport
{
    private readonly Stage _target;
    private readonly byte[] _dockerfile;
    private readonly List<(string Name, OutlineArgument Argument)> _arguments = [];
    private readonly List<(string Name, OutlineMount Mount)> _secrets = [];
    private readonly List<(string Name, OutlineMount Mount)> _agents = [];

    public OutlineReport(Stage target, byte[] dockerfile)
    {
        _target = target;
        _dockerfile = dockerfile;
        Collect();
    }

    public byte[] ToJson()
    {
        var json = new CanonicalJsonWriter(indented: true);
        json.WriteStartObject();
        ReportJson.WriteText(json, "name", _target.Name);
        ReportJson.WriteText(json, "description", _target.Description);
        if (_arguments.Count > 0)
        {
            json.WriteName("args");
            json.WriteStartArray();
            foreach (var (_, argument) in _arguments)
            {
                json.WriteStartObject();
                json.WriteName("name");
                json.WriteString(argument.Definition.Key);
                ReportJson.WriteText(json, "description", argument.Definition.Description);
                ReportJson.WriteText(json, "value", argument.Value);
                ReportJson.WriteOptionalLocation(json, argument.Location);
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
        WriteMounts(json, "secrets", _secrets);
        WriteMounts(json, "ssh", _agents);
        ReportJson.WriteSources(json, _dockerfile);
        json.WriteEndObject();
        return json.ToArray();
    }

    public byte[] ToText()
    {
        var text = new StringBuilder();
        if (_target.Name.Length > 0 || _target.Description.Length > 0)
        {
            var table = new TextTable(1).Row("TARGET:", _target.Name.Length > 0 ? _target.Name : "(default)");
            if (_target.Description.Length > 0)
                table.Row("DESCRIPTION:", _target.Description);
            table.WriteTo(text);
            text.Append('\n');
        }
        if (_arguments.Count > 0)
        {
            var table = new TextTable(3).Row("BUILD ARG", "VALUE", "DESCRIPTION");
            foreach (var (_, argument) in _arguments)
                table.Row(argument.Definition.Key, argument.Value, argument.Definition.Description);
            table.WriteTo(text);
            text.Append('\n');
        }
        WriteMounts(text, "SECRET", _secrets);
        WriteMounts(text, "SSH", _agents);
        return Encoding.UTF8.GetBytes(text.ToString());
    }

    private void Collect()
    {
        foreach (var stage in InOrder(_target))
        {
            stage.Outline.MarkDependencies();
            foreach (var name in stage.Outline.Used)
            {
                if (stage.Outline.Arguments.TryGetValue(name, out var argument) && !_arguments.Exists(a => Same(a.Name, name)))
                    _arguments.Add((name, argument));
            }
            Take(_secrets, stage.Outline.Secrets);
            Take(_agents, stage.Outline.Agents);
        }
        Sort(_arguments, static a => a.Argument.Location);
        Sort(_secrets, static s => s.Mount.Location);
        Sort(_agents, static s => s.Mount.Location);
    }

    /// <summary>The target, its bases, then what it takes from, each once.</summary>
    private static List<Stage> InOrder(Stage target)
    {
        var order = new List<Stage>();
        var seen = new HashSet<Stage>();
        var pending = new Stack<Stage>();
        pending.Push(target);
        while (pending.TryPop(out var stage))
        {
            if (!seen.Add(stage))
                continue;
            order.Add(stage);
            foreach (var dependency in stage.Dependencies.Keys.Reverse())
                pending.Push(dependency);
            if (stage.Base is not null)
                pending.Push(stage.Base);
        }
        return order;
    }

    private static void Take(List<(string Name, OutlineMount Mount)> list, Dictionary<string, OutlineMount> found)
    {
        foreach (var (name, mount) in found)
        {
            if (!list.Exists(m => Same(m.Name, name)))
                list.Add((name, mount));
        }
    }

    private static void Sort<T>(List<T> list, Func<T, IReadOnlyList<SourceRange>> location)
    {
        var sorted = list.OrderBy(item => location(item) is [var first, ..] ? first.StartLine : 0).ToList();
        list.Clear();
        list.AddRange(sorted);
    }

    private static void WriteMounts(CanonicalJsonWriter json, string name, List<(string Name, OutlineMount Mount)> mounts)
    {
        if (mounts.Count == 0)
            return;
        json.WriteName(name);
        json.WriteStartArray();
        foreach (var (mountName, mount) in mounts)
        {
            json.WriteStartObject();
            json.WriteName("name");
            json.WriteString(mountName);
            json.WriteTrue("required", mount.Required);
            ReportJson.WriteOptionalLocation(json, mount.Location);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static void WriteMounts(StringBuilder text, string title, List<(string Name, OutlineMount Mount)> mounts)
    {
        if (mounts.Count == 0)
            return;
        var table = new TextTable(3).Row(title, "REQUIRED");
        foreach (var (name, mount) in mounts)
            table.Row(name, mount.Required ? "true" : "");
        table.WriteTo(text);
        text.Append('\n');
    }

    private static bool Same(string a, string b) => string.Equals(a, b, StringComparison.Ordinal);
}
