using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Worker.Exporters.Attestations;
using BuildKit.Worker.Sources;
using Platform = BuildKit.Oci.Platform;

namespace BuildKit.Daemon.Attesting;

/// <summary>When and as what a build ran.</summary>
/// <param name="InvocationId">An id no other build has.</param>
/// <param name="Started">When it began.</param>
/// <param name="Finished">When it was done, but for its outputs.</param>
internal sealed record BuildInvocation(string InvocationId, DateTimeOffset Started, DateTimeOffset Finished);

/// <summary>Writes provenance as a SLSA 0.2 predicate (spec 07 §9.3), compact.</summary>
internal static class ProvenancePredicate
{
    /// <summary>Type of the predicate.</summary>
    public const string PredicateType = "https://slsa.dev/provenance/v0.2";

    private const string BuildType = "https://mobyproject.org/buildkit@v1";

    /// <summary>The predicate.</summary>
    /// <param name="capture">What went into the result.</param>
    /// <param name="options">How much is told.</param>
    /// <param name="invocation">The build.</param>
    /// <param name="platform">Platform of the machine that builds.</param>
    /// <param name="definition">Definition of the result; null where steps are not told.</param>
    /// <param name="layers">Layers of its steps; null for none.</param>
    /// <param name="usage">What the machine did meanwhile; null where that is not told.</param>
    /// <exception cref="FormatException">An image's name is none.</exception>
    /// <exception cref="Llb.LlbException">The definition is broken.</exception>
    public static byte[] Write(
        ProvenanceCapture capture, ProvenanceOptions options, BuildInvocation invocation, Platform platform, Definition? definition = null, StepLayers? layers = null,
        IReadOnlyList<SystemSample>? usage = null)
    {
        var request = Request.Of(capture, options.IsMax);
        var steps = options.IsMax ? BuildSteps.Of(definition) : null;
        var json = new CanonicalJsonWriter();
        json.WriteStartObject();
        json.WriteName("builder");
        json.WriteStartObject();
        Text(json, "id", options.BuilderId);
        json.WriteEndObject();
        Text(json, "buildType", BuildType);
        WriteMaterials(json, capture);
        json.WriteName("invocation");
        request.Write(json, capture, options.IsMax, platform);
        if (options.IsMax)
        {
            json.WriteName("buildConfig");
            json.WriteStartObject();
            steps?.Write(json);
            json.WriteEndObject();
        }
        json.WriteName("metadata");
        json.WriteStartObject();
        Text(json, "buildInvocationID", invocation.InvocationId);
        Text(json, "buildStartedOn", Rfc3339Time.From(invocation.Started.ToUniversalTime()).ToString());
        Text(json, "buildFinishedOn", Rfc3339Time.From(invocation.Finished.ToUniversalTime()).ToString());
        var isComplete = !capture.IsIncomplete && capture.Locals.Count == 0;
        json.WriteName("completeness");
        json.WriteStartObject();
        Flag(json, "parameters", capture.Frontend.Length > 0 && !request.IsShortened);
        Flag(json, "environment", true);
        Flag(json, "materials", isComplete);
        json.WriteEndObject();
        Flag(json, "reproducible", options.IsReproducible);
        json.WriteName(BuildType + "#metadata");
        json.WriteStartObject();
        json.WriteMap("vcs", request.VersionControl);
        if (steps is not null)
        {
            WriteSource(json, definition!.Source, steps);
            WriteLayers(json, layers?.Of(steps));
        }
        if (usage is { Count: > 0 })
        {
            json.WriteName("sysUsage");
            json.WriteStartArray();
            foreach (var sample in usage)
                sample.Write(json);
            json.WriteEndArray();
        }
        json.WriteEndObject();
        json.WriteTrue(BuildType + "#hermetic", isComplete && !capture.HasNetworkAccess);
        json.WriteEndObject();
        json.WriteEndObject();
        return json.ToArray();
    }

    private static void WriteMaterials(CanonicalJsonWriter json, ProvenanceCapture capture)
    {
        if (capture.Images.Count + capture.Commits.Count + capture.Files.Count == 0)
            return;
        json.WriteName("materials");
        json.WriteStartArray();
        foreach (var image in capture.Images)
            Material(PackageUrl.OfImage(image.IsLocal ? "oci" : "docker", image.Reference, image.Platform), image.Digest.IsEmpty ? null : (image.Digest.Algorithm, image.Digest.Hex));
        foreach (var commit in capture.Commits)
            Material(commit.Url, ("sha1", commit.Commit));
        foreach (var file in capture.Files)
            Material(file.Url, (file.Digest.Algorithm, file.Digest.Hex));
        json.WriteEndArray();

        void Material(string uri, (string Algorithm, string Value)? digest)
        {
            json.WriteStartObject();
            json.WriteText("uri", uri);
            if (digest is { } known)
                WriteDigest(json, known);
            json.WriteEndObject();
        }
    }

    private static void WriteDigest(CanonicalJsonWriter json, (string Algorithm, string Value) digest) =>
        json.WriteMap("digest", new Dictionary<string, string>(StringComparer.Ordinal) { [digest.Algorithm] = digest.Value });

    private static void WriteSource(CanonicalJsonWriter json, Source? source, BuildSteps steps)
    {
        if (source is null || source.Infos.Count == 0)
            return;
        json.WriteName("source");
        json.WriteStartObject();
        var locations = source.Locations.Select(entry => (Step: steps.NameOf(entry.Key), Locations: entry.Value)).Where(entry => entry.Step is not null)
            .OrderBy(entry => entry.Step!, ByteOrder.Instance).ToList();
        if (locations.Count > 0)
        {
            json.WriteName("locations");
            json.WriteStartObject();
            foreach (var (step, places) in locations)
            {
                json.WriteName(step!);
                Llb.LlbJson.Write(json, places);
            }
            json.WriteEndObject();
        }
        json.WriteName("infos");
        json.WriteStartArray();
        foreach (var info in source.Infos)
        {
            json.WriteStartObject();
            json.WriteText("filename", info.Filename);
            json.WriteText("language", info.Language);
            if (!info.Data.IsEmpty)
            {
                json.WriteName("data");
                json.WriteBase64(info.Data.Span);
            }
            BuildSteps.Of(info.Definition)?.Write(json);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteLayers(CanonicalJsonWriter json, SortedDictionary<string, IReadOnlyList<IReadOnlyList<Descriptor>>>? layers)
    {
        if (layers is null || layers.Count == 0)
            return;
        json.WriteName("layers");
        json.WriteStartObject();
        foreach (var (step, chains) in layers)
        {
            json.WriteName(step);
            json.WriteStartArray();
            foreach (var chain in chains)
            {
                json.WriteStartArray();
                foreach (var layer in chain)
                    layer.WriteTo(json);
                json.WriteEndArray();
            }
            json.WriteEndArray();
        }
        json.WriteEndObject();
    }

    private static void Text(CanonicalJsonWriter json, string name, string value)
    {
        json.WriteName(name);
        json.WriteString(value);
    }

    private static void Flag(CanonicalJsonWriter json, string name, bool value)
    {
        json.WriteName(name);
        json.WriteBoolean(value);
    }

    /// <summary>What was asked for: the frontend's options, those that say where the build comes from set apart.</summary>
    private sealed record Request(
        IReadOnlyDictionary<string, string> Arguments, string Uri, (string Algorithm, string Value)? UriDigest, string EntryPoint,
        IReadOnlyDictionary<string, string> VersionControl, bool IsShortened)
    {
        private const string VersionControlPrefix = "vcs:";

        public static Request Of(ProvenanceCapture capture, bool isMax)
        {
            var arguments = new SortedDictionary<string, string>(ByteOrder.Instance);
            var versionControl = new SortedDictionary<string, string>(ByteOrder.Instance);
            var contextOption = FrontendArguments.ContextOption(capture.Arguments);
            string context = "", entryPoint = "";
            var isShortened = false;
            foreach (var (key, value) in capture.Arguments)
            {
                if (key == contextOption && value.Length > 0)
                    context = value;
                else if (key == "filename" && value.Length > 0)
                    entryPoint = value;
                else if (key.StartsWith(VersionControlPrefix, StringComparison.Ordinal))
                {
                    if (value.Length > 0)
                        versionControl[key[VersionControlPrefix.Length..]] = key == "vcs:source" ? RedactedUrl.Of(value) : value;
                }
                else if (!isMax && (key.StartsWith("build-arg:", StringComparison.Ordinal) || key.StartsWith("label:", StringComparison.Ordinal)))
                    isShortened = true;
                else
                    arguments[key] = value;
            }
            return new Request(arguments, context, DigestOf(capture, context), entryPoint, versionControl, isShortened);
        }

        public void Write(CanonicalJsonWriter json, ProvenanceCapture capture, bool isMax, Platform platform)
        {
            json.WriteStartObject();
            json.WriteName("configSource");
            json.WriteStartObject();
            json.WriteText("uri", Uri);
            if (UriDigest is { } digest)
                WriteDigest(json, digest);
            json.WriteText("entryPoint", EntryPoint);
            json.WriteEndObject();
            json.WriteName("parameters");
            json.WriteStartObject();
            json.WriteText("frontend", capture.Frontend);
            json.WriteMap("args", Arguments);
            if (isMax)
            {
                WriteAccesses(json, "secrets", capture.Secrets);
                WriteAccesses(json, "ssh", capture.SshAgents);
            }
            if (capture.Locals.Count > 0)
            {
                json.WriteName("locals");
                json.WriteStartArray();
                foreach (var local in capture.Locals)
                {
                    json.WriteStartObject();
                    Text(json, "name", local);
                    json.WriteEndObject();
                }
                json.WriteEndArray();
            }
            json.WriteEndObject();
            json.WriteName("environment");
            json.WriteStartObject();
            Text(json, "platform", platform.Normalize().Format());
            json.WriteEndObject();
            json.WriteEndObject();
        }

        private static (string Algorithm, string Value)? DigestOf(ProvenanceCapture capture, string context)
        {
            if (capture.Commits.FirstOrDefault(commit => commit.Url == context) is { } commit)
                return ("sha1", commit.Commit);
            return capture.Files.FirstOrDefault(file => file.Url == context) is { } file ? (file.Digest.Algorithm, file.Digest.Hex) : null;
        }

        private static void WriteAccesses(CanonicalJsonWriter json, string name, IReadOnlyDictionary<string, bool> accesses)
        {
            if (accesses.Count == 0)
                return;
            json.WriteName(name);
            json.WriteStartArray();
            foreach (var (id, isOptional) in accesses)
            {
                json.WriteStartObject();
                Text(json, "id", id);
                json.WriteTrue("optional", isOptional);
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
    }
}
