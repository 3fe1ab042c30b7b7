namespace BuildKit.Client;

/// <summary>A request that cannot be carried out as it was put; the text says what is wrong with it.</summary>
public sealed class ClientException(string message, Exception? inner = null) : Exception(message, inner);
