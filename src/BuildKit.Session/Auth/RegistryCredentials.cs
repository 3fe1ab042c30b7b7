namespace BuildKit.Session.Auth;

/// <summary>What is known for a registry host.</summary>
/// <param name="Username">User, empty when the secret is an identity token.</param>
/// <param name="Secret">Password or identity token; empty for anonymous access.</param>
/// <param name="RegistryToken">A ready bearer token; empty when there is none.</param>
public sealed record RegistryCredentials(string Username, string Secret, string RegistryToken = "")
{
    /// <summary>Anonymous.</summary>
    public static RegistryCredentials None { get; } = new("", "");
}
