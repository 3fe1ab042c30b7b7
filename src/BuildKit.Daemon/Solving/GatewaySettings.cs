using BuildKit.Daemon.Configuration;
using BuildKit.Oci;

namespace BuildKit.Daemon.Solving;

/// <summary>Frontends in images (<c>gateway.v0</c>).</summary>
/// <param name="Enabled">Whether they may run.</param>
/// <param name="SubstituteDockerfile">Whether the built-in frontend answers for images of the reference's Dockerfile frontend.</param>
public sealed record GatewaySettings(bool Enabled = true, bool SubstituteDockerfile = true)
{
    /// <summary>Repositories frontends may come from, as <c>docker.io/docker/dockerfile</c>; none means any.</summary>
    public IReadOnlyList<string> AllowedRepositories { get; init; } = [];

    /// <summary>The settings of a configuration.</summary>
    /// <exception cref="ConfigException">A repository is none.</exception>
    public static GatewaySettings Of(DaemonConfig config) => new(config.GatewayFrontend, config.SubstituteDockerfile)
    {
        AllowedRepositories = [.. config.GatewayAllowedRepositories.Select(repository => ImageReference.TryParse(repository, out var reference)
            ? reference.Name
            : throw new ConfigException($"frontend.\"gateway.v0\".allowedRepositories: {repository} is no repository"))],
    };
}
