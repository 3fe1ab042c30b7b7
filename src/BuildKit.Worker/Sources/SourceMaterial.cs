using BuildKit.Oci;

namespace BuildKit.Worker.Sources;

/// <summary>What a source brings into a build, as provenance lists it (spec 07 §9.2). What it was at the time is
/// <see cref="SourceKey.Pin"/>.</summary>
public abstract record SourceMaterial;

/// <summary>An image.</summary>
/// <param name="Reference">Its full name.</param>
/// <param name="Platform">Which of its platforms.</param>
/// <param name="IsLocal">Whether it comes from a client's layout, not from a registry.</param>
public sealed record ImageMaterial(string Reference, Platform Platform, bool IsLocal) : SourceMaterial;

/// <summary>A git repository; the pin is a commit.</summary>
/// <param name="Url">Its address with <c>#ref</c>; may hold credentials.</param>
/// <param name="Secrets">Ids of secrets that may be asked for.</param>
/// <param name="SshAgentId">The client's agent that may be asked for; empty for none.</param>
public sealed record GitMaterial(string Url, IReadOnlyList<string> Secrets, string SshAgentId) : SourceMaterial;

/// <summary>A file of a web server; the pin is its digest.</summary>
/// <param name="Url">Its address; may hold credentials.</param>
public sealed record HttpMaterial(string Url) : SourceMaterial;

/// <summary>A directory of the client; there is no pin.</summary>
/// <param name="Name">What the client calls it.</param>
public sealed record LocalMaterial(string Name) : SourceMaterial;
