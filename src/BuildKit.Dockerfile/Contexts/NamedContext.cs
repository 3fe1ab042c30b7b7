using System.Text.Json;
using BuildKit.Dockerfile.Conversion;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Llb;
using BuildKit.Oci;

namespace BuildKit.Dockerfile.Contexts;

/// <summary>What a named context turned out to be.</summary>
/// <param name="State">Its file system.</param>
/// <param name="Image">Its image configuration; null when it has none.</param>
internal sealed record LoadedContext(State State, StageImage? Image);

/// <summary>A context given by name in the options (spec 05 §8.4).</summary>
internal sealed class NamedContext
{
    private const int MaxReplacements = 10;

    private readonly BuildInputs _inputs;
    private readonly string _name;
    private readonly string _key;
    private readonly Platform? _platform;
    private readonly Func<IReadOnlyList<string>?> _usedPaths;
    private string _value;

    private NamedContext(BuildInputs inputs, string name, string key, string value, Platform? platform, Func<IReadOnlyList<string>?> usedPaths)
    {
        _inputs = inputs;
        _name = name;
        _key = key;
        _value = value;
        _platform = platform;
        _usedPaths = usedPaths;
    }

    /// <summary>Looks a name up; null when no option has it.</summary>
    /// <param name="inputs">The options.</param>
    /// <param name="name">A stage name or image reference.</param>
    /// <param name="platform">Platform of the stage that asks.</param>
    /// <param name="usedPaths">Paths used of it, asked for when all stages are known; null for all.</param>
    /// <exception cref="DockerfileException">The name is no reference.</exception>
    public static NamedContext? Find(BuildInputs inputs, string name, Platform? platform, Func<IReadOnlyList<string>?> usedPaths)
    {
        if (name.ToLowerInvariant() is "scratch" or "context")
            return null;
        string familiar;
        try
        {
            familiar = ImageReference.Parse(name).Familiar;
        }
        catch (FormatException e)
        {
            throw new DockerfileException($"invalid context name {name}: {e.Message}", e);
        }
        if (familiar.EndsWith(":latest", StringComparison.Ordinal))
            familiar = familiar[..^":latest".Length];
        foreach (var key in new[] { familiar + "::" + (platform ?? Platform.Host).Normalize().FormatAll(), familiar })
        {
            if (inputs.Options.All.TryGetValue("context:" + key, out var value))
                return new NamedContext(inputs, familiar, key, value, platform, usedPaths);
        }
        return null;
    }

    /// <summary>Loads the context.</summary>
    /// <exception cref="DockerfileException">The option is malformed or its source is refused.</exception>
    public async Task<LoadedContext> LoadAsync(CancellationToken cancellationToken)
    {
        for (var replacements = 0; ; replacements++)
        {
            if (replacements > MaxReplacements)
                throw new DockerfileException("context recursion limit exceeded; this may indicate a cycle in the provided source policies: " + _value);
            try
            {
                return await LoadOnceAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (NonImageSourceException e)
            {
                var parts = e.Updated.Split("://", 2);
                if (parts.Length != 2)
                    throw new DockerfileException($"could not parse ref: {e.Updated}", e);
                _value = parts[0] + ":" + parts[1];
            }
        }
    }

    private Task<LoadedContext> LoadOnceAsync(CancellationToken cancellationToken)
    {
        var parts = _value.Split(':', 2);
        if (parts.Length != 2)
            throw new DockerfileException($"invalid context specifier {_value} for {_key}");
        var scheme = parts[0].StartsWith("git@", StringComparison.Ordinal) ? "git" : parts[0];
        var rest = parts[1];
        var withoutSlashes = rest.StartsWith("//", StringComparison.Ordinal) ? rest[2..] : rest;
        return scheme switch
        {
            "docker-image" => LoadImageAsync(withoutSlashes, cancellationToken),
            "oci-layout" => LoadLayoutAsync(withoutSlashes, cancellationToken),
            "git" => Done(BuildInputs.GitContext(_value, true) ?? throw new DockerfileException($"invalid git context {_value}")),
            "http" or "https" => Done(BuildInputs.GitContext(_value, true) ?? State.Http(_value, new HttpOptions { Constraints = Named(_value) })),
            "local" => LoadLocalAsync(rest, cancellationToken),
            "input" => LoadInputAsync(rest, cancellationToken),
            _ => throw new DockerfileException($"unsupported context source {scheme} for {_key}"),
        };
    }

    private static Task<LoadedContext> Done(State state) => Task.FromResult(new LoadedContext(state, null));

    private OpConstraints Named(string text) => OpConstraints.None.WithCustomName($"[context {_key}] {text}");

    private async Task<LoadedContext> LoadImageAsync(string reference, CancellationToken cancellationToken)
    {
        if (reference is "scratch")
            return new LoadedContext(State.Scratch, null);
        var normal = Parse(reference, ImageReference.ParseWithDefaultTag);
        var query = new ImageConfigQuery($"[context {_key}] load metadata for {reference}", _platform, _inputs.Options.ResolveModeName);
        var resolved = await _inputs.Client.ResolveImageConfigAsync(normal.ToString(), query, cancellationToken).ConfigureAwait(false);
        var state = State.Image(resolved.Reference, new ImageOptions { Constraints = Named(reference) with { Platform = _platform } });
        return WithConfig(state, resolved.Config, dropCreated: true);
    }

    private async Task<LoadedContext> LoadLayoutAsync(string text, CancellationToken cancellationToken)
    {
        var at = text.LastIndexOf('@');
        var name = at < 0 ? text : text[..at];
        if (at < 0)
            throw new DockerfileException($"oci-layout reference {Text.GoQuote.Quote(text)} has no digest");
        if (!Digest.TryParse(text[(at + 1)..], out var digest))
            throw new DockerfileException($"could not parse oci-layout reference {Text.GoQuote.Quote(text)}: invalid reference format");
        var colon = name.LastIndexOf(':');
        var store = colon > name.LastIndexOf('/') ? name[..colon] : name;
        var shown = Parse(_name, ImageReference.Parse).WithDigest(digest).ToString();
        var session = _inputs.Client.Options.SessionId;
        var query = new ImageConfigQuery($"[context {_key}] load metadata for {shown}", _platform, "", session, store);
        var resolved = await _inputs.Client.ResolveImageConfigAsync(shown, query, cancellationToken).ConfigureAwait(false);
        var state = State.OciLayout(shown, new OciLayoutOptions
        {
            SessionId = session,
            StoreId = store,
            Constraints = Named("OCI load from client") with { Platform = _platform },
        });
        return WithConfig(state, resolved.Config, dropCreated: false);
    }

    private async Task<LoadedContext> LoadLocalAsync(string local, CancellationToken cancellationToken)
    {
        var excludes = await _inputs.LoadIgnorePatternsAsync(local, _key, cancellationToken).ConfigureAwait(false);
        // Which paths are needed is known only once all stages have been emitted.
        var deferred = State.Scratch.Defer((_, _, _) => ValueTask.FromResult(State.Local(local, new LocalOptions
        {
            SessionId = _inputs.SessionOf(local),
            SharedKeyHint = "context:" + _key,
            ExcludePatterns = excludes,
            FollowPaths = _usedPaths() ?? [],
            Constraints = Named("load from client"),
        })));
        return new LoadedContext(State.Scratch.WithOutput(deferred), null);
    }

    private async Task<LoadedContext> LoadInputAsync(string name, CancellationToken cancellationToken)
    {
        var inputs = await _inputs.Client.GetInputsAsync(cancellationToken).ConfigureAwait(false);
        if (!inputs.TryGetValue(name, out var definition))
            throw new DockerfileException($"invalid input {name} for {_key}");
        var state = State.FromDefinition(definition);
        if (!_inputs.Options.All.TryGetValue("input-metadata:" + name, out var metadata))
            return new LoadedContext(state, null);
        try
        {
            using var json = JsonDocument.Parse(metadata);
            return json.RootElement.TryGetProperty("containerimage.config", out var config)
                ? WithConfig(state, config.GetBytesFromBase64(), dropCreated: false)
                : new LoadedContext(state, null);
        }
        catch (Exception e) when (e is JsonException or FormatException or InvalidOperationException)
        {
            throw new DockerfileException($"failed to parse input metadata {metadata}: {e.Message}", e);
        }
    }

    private static LoadedContext WithConfig(State state, byte[] json, bool dropCreated)
    {
        var image = StageImage.Parse(json);
        if (dropCreated)
            image.Created = null;
        return new LoadedContext(state.WithImageConfig(json), image);
    }

    private static ImageReference Parse(string text, Func<string, ImageReference> parse)
    {
        try
        {
            return parse(text);
        }
        catch (FormatException e)
        {
            throw new DockerfileException(e.Message, e);
        }
    }
}
