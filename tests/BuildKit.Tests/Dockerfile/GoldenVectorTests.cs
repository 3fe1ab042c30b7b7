using System.Text;
using BuildKit.Dockerfile;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.Dockerfile;

/// <summary>Every vector of the reference's frontend: graphs, image configurations, warnings, calls, errors, answers.</summary>
public sealed class GoldenVectorTests
{
    public static TheoryData<string> Vectors => [.. GoldenVector.Names];

    [GoldenTheory]
    [MemberData(nameof(Vectors))]
    public async Task Conversion_gives_what_the_reference_gives(string name)
    {
        var vector = new GoldenVector(name);
        var options = vector.Options;
        var dockerfileKey = options.Opts.GetValueOrDefault("dockerfilekey", "dockerfile");
        var client = new RecordingClient(options, local => Folder(vector, local, dockerfileKey), vector.Definitions);
        FrontendResult? result = null;
        Exception? error = null;
        try
        {
            result = await new DockerfileFrontend(vector.Features).BuildAsync(client, CancellationToken.None);
        }
        catch (Exception e) when (e is DockerfileException or FrontendSourceException or UnsupportedFrontendCapException or UnsupportedSubrequestException)
        {
            error = e;
        }

        Assert.Equal(vector.Error, error?.Message);
        Assert.Equal(vector.ErrorSources, (error as FrontendSourceException)?.Sources.Select(static s => s.Info.Filename + ":" + RecordingClient.Ranges(s.Ranges)) ?? []);
        var expected = vector.Definitions;
        if (vector.IsMultiPlatform)
        {
            Assert.Equal(expected.Select(GoldenDefinitions.Print).Order(StringComparer.Ordinal), client.Definitions.Select(GoldenDefinitions.Print).Order(StringComparer.Ordinal));
            Assert.Equal(vector.Calls.Order(StringComparer.Ordinal), client.Calls.Order(StringComparer.Ordinal));
        }
        else
        {
            foreach (var (wanted, found) in expected.Zip(client.Definitions))
                Assert.Equal(GoldenDefinitions.Print(wanted), GoldenDefinitions.Print(found));
            Assert.Equal(expected.Count, client.Definitions.Count);
            Assert.Equal(vector.Calls, GoldenVector.SortNeighbours(client.Calls));
        }
        Assert.Equal(vector.Warnings.Order(StringComparer.Ordinal), client.Warnings.Order(StringComparer.Ordinal));
        if (result is not null)
            CheckResult(vector, result);
    }

    private static void CheckResult(GoldenVector vector, FrontendResult result)
    {
        var metadata = vector.Metadata;
        Assert.Equal(metadata.Keys.Order(StringComparer.Ordinal), result.Metadata.Keys.Order(StringComparer.Ordinal));
        foreach (var (key, wanted) in metadata)
            Assert.Equal($"{key}: {Encoding.UTF8.GetString(wanted)}", $"{key}: {Encoding.UTF8.GetString(result.Metadata[key])}");
        var expected = vector.Result!.Value;
        if (expected.TryGetProperty("ref", out var reference))
            Assert.Equal(reference.GetInt32(), ((FolderReference)result.Reference!).Definition);
        if (expected.TryGetProperty("refs", out var references))
        {
            Assert.Equal(
                references.EnumerateObject().Select(static r => r.Name + "=" + r.Value.GetInt32()).Order(StringComparer.Ordinal),
                result.References.Select(static r => r.Key + "=" + ((FolderReference)r.Value!).Definition).Order(StringComparer.Ordinal));
        }
        if (!expected.TryGetProperty("attestations", out var attestations))
        {
            Assert.Empty(result.Attestations);
            return;
        }
        foreach (var platform in attestations.EnumerateObject())
        {
            var wanted = platform.Value.EnumerateArray().Single();
            var found = Assert.Single(result.Attestations[platform.Name]);
            Assert.Equal(wanted.GetProperty("predicateType").GetString(), found.PredicateType);
            Assert.Equal(wanted.GetProperty("ref").GetInt32(), ((FolderReference)found.Reference!).Definition);
            Assert.Equal(
                wanted.GetProperty("metadata").EnumerateObject().Select(static m => m.Name + "=" + m.Value.GetString()),
                found.Metadata.Select(static m => m.Key + "=" + Encoding.UTF8.GetString(m.Value)));
        }
    }

    private static string Folder(GoldenVector vector, string local, string dockerfileKey)
    {
        if (local is "dockerfile" || string.Equals(local, dockerfileKey, StringComparison.Ordinal))
            return vector.Path("dockerfile");
        return local is "context" ? vector.Path("context") : vector.Path("locals", local);
    }
}
