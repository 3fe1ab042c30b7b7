using BuildKit.Registry.Auth;

namespace BuildKit.Worker.Sources.Images;

/// <summary>Credentials of the clients behind a list of sessions.</summary>
/// <param name="sessionIds">Sessions, tried in order; evaluated anew at each use.</param>
public delegate IRegistryCredentials RegistryCredentialsFactory(IEnumerable<string> sessionIds);
