namespace BuildKit.Session.FileSync;

/// <summary>A transfer broke the protocol, or the peer reported that it failed.</summary>
public sealed class FileSyncException(string message, Exception? inner = null) : Exception(message, inner);
