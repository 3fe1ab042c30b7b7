using System.ComponentModel;
using System.Diagnostics;
using System.Text.Json;

namespace BuildKit.Session.Auth;

/// <summary>Runs <c>docker-credential-*</c> programs.</summary>
internal static class CredentialHelper
{
    private const string NotFound = "credentials not found in native keychain";

    public static bool IsOnPath(string program)
    {
        foreach (var directory in (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries))
        {
            if (File.Exists(Path.Combine(directory, program)))
                return true;
        }
        return false;
    }

    public static async Task<RegistryCredentials> GetAsync(string helper, string key, CancellationToken cancellationToken)
    {
        var program = "docker-credential-" + helper;
        var start = new ProcessStartInfo(program, ["get"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var process = Start(start, program);
        try
        {
            await process.StandardInput.WriteAsync(key.AsMemory(), cancellationToken);
            process.StandardInput.Close();
        }
        catch (IOException)
        {
            // The helper may answer without reading; its output and exit code decide.
        }
        try
        {
            var errors = process.StandardError.ReadToEndAsync(cancellationToken);
            var output = await process.StandardOutput.ReadToEndAsync(cancellationToken);
            var errorText = await errors;
            await process.WaitForExitAsync(cancellationToken);
            if (process.ExitCode == 0)
                return Parse(program, output);
            var text = output.Trim();
            return text == NotFound
                ? RegistryCredentials.None
                : throw new CredentialHelperException($"error getting credentials - err: exit status {process.ExitCode}, out: `{(text.Length > 0 ? text : errorText.Trim())}`");
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw;
        }
    }

    private static Process Start(ProcessStartInfo start, string program)
    {
        try
        {
            return Process.Start(start)!;
        }
        catch (Win32Exception failure)
        {
            throw new CredentialHelperException($"error getting credentials - err: exec: \"{program}\": {failure.Message}, out: ``");
        }
    }

    private static RegistryCredentials Parse(string program, string output)
    {
        try
        {
            using var document = JsonDocument.Parse(output);
            var (user, secret) = (Text(document.RootElement, "Username"), Text(document.RootElement, "Secret"));
            return user == "<token>" ? new RegistryCredentials("", secret) : new RegistryCredentials(user, secret);
        }
        catch (JsonException failure)
        {
            throw new CredentialHelperException($"{program} answered something that is no JSON: {failure.Message}");
        }
    }

    private static string Text(JsonElement owner, string name) => owner.TryGetProperty(name, out var value) ? value.GetString() ?? "" : "";
}

/// <summary>A credential helper failed.</summary>
public sealed class CredentialHelperException(string message) : Exception(message);
