using BuildKit.Llb;

namespace BuildKit.Dockerfile.Contexts;

/// <summary>What a named context puts in the place of a frontend's image (spec 01 §6.5).</summary>
/// <param name="State">Its file system.</param>
/// <param name="Config">Its image configuration as JSON; null when it has none.</param>
public sealed record FrontendReplacement(State State, byte[]? Config)
{
    /// <summary>Looks for an option <c>context:IMAGE</c>; null when there is none.</summary>
    /// <param name="client">The daemon, with the options of the call.</param>
    /// <param name="image">Name of the frontend's image.</param>
    /// <param name="cancellationToken">Ends the loading.</param>
    /// <exception cref="Parsing.DockerfileException">The option is malformed or its source is refused.</exception>
    public static async Task<FrontendReplacement?> FindAsync(IFrontendClient client, string image, CancellationToken cancellationToken)
    {
        // Options are another frontend's: they are read only where one of them can be meant.
        if (!client.Options.Opts.Keys.Any(static key => key.StartsWith("context:", StringComparison.Ordinal)))
            return null;
        var inputs = new BuildInputs(client, FrontendOptions.Parse(client.Options));
        if (NamedContext.Find(inputs, image, platform: null, static () => null) is not { } context)
            return null;
        var loaded = await context.LoadAsync(cancellationToken).ConfigureAwait(false);
        return new FrontendReplacement(loaded.State, loaded.Image?.ToJson());
    }
}
