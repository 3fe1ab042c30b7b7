using System.Globalization;
using BuildKit.Oci;
using BuildKit.Solver;

namespace BuildKit.Scale;

/// <summary>Build graphs of a given size.</summary>
internal static class Graphs
{
    /// <summary>One step after the other; the deepest graph there is.</summary>
    public static Vertex Chain(string name, int size)
    {
        var top = Step($"{name} 0", []);
        for (var i = 1; i < size; i++)
            top = Step(string.Create(CultureInfo.InvariantCulture, $"{name} {i}"), [top]);
        return top;
    }

    /// <summary>Rows of ten steps, each of which uses two of the row below; a last step uses the last row.</summary>
    public static Vertex Layered(string name, int size)
    {
        const int width = 10;
        var row = Enumerable.Range(0, width).Select(i => Step($"{name} 0.{i}", [])).ToArray();
        for (var y = 1; y < size / width; y++)
        {
            var below = row;
            row = [.. Enumerable.Range(0, width).Select(i => Step(
                string.Create(CultureInfo.InvariantCulture, $"{name} {y}.{i}"), [below[i], below[(i + 1) % width]]))];
        }
        return Step($"{name} top", row);
    }

    private static Vertex Step(string name, IReadOnlyList<Vertex> inputs)
    {
        var key = Digest.Sha256(name);
        var digest = Digest.Sha256(name + "|" + string.Join('|', inputs.Select(i => i.Digest)));
        return new Vertex(digest, key, [.. inputs.Select(i => new Edge(i, 0))], name, new VertexOptions());
    }
}
