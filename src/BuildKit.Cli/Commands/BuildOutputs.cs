using System.Text;
using System.Text.Json;
using BuildKit.Cli.Text;
using BuildKit.Linux;
using BuildKit.Oci;

namespace BuildKit.Cli.Commands;

/// <summary>Files that appear whole under their name.</summary>
internal static class AtomicFile
{
    private const UnixFileMode Everybody = (UnixFileMode)0x1B6;

    /// <summary>Writes a file with mode 0666 less the process' mask.</summary>
    public static void Write(string path, ReadOnlySpan<byte> content)
    {
        if (Session.FileSend.AtomicFileStream.IsSpecial(path))
        {
            using var device = new FileStream(path, FileMode.Open, FileAccess.Write);
            device.Write(content);
            return;
        }
        var directory = Path.GetDirectoryName(path) ?? "";
        var temporary = Path.Combine(directory, $".tmp-{Path.GetFileName(path)}{Random.Shared.Next():D10}");
        try
        {
            using (var file = new FileStream(temporary, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = Everybody }))
                file.Write(content);
            File.Move(temporary, path, overwrite: true);
        }
        catch (DirectoryNotFoundException failure)
        {
            throw new CommandException($"open {temporary}: no such file or directory", failure);
        }
        catch (UnauthorizedAccessException failure)
        {
            throw new CommandException($"open {temporary}: permission denied", failure);
        }
    }
}

/// <summary>What <c>--metadata-file</c> holds (spec 08 §1.5).</summary>
internal static class MetadataFile
{
    /// <summary>The response as indented JSON; values that are base64 of a JSON object with members stand as that object.</summary>
    public static byte[] Format(IReadOnlyDictionary<string, string> response)
    {
        var json = new CanonicalJsonWriter();
        json.WriteStartObject();
        foreach (var key in response.Keys.Order(StringComparer.Ordinal))
        {
            json.WriteName(key);
            if (Embedded(response[key]) is { } embedded)
                json.WriteRaw(CanonicalJsonWriter.Compact(embedded));
            else
                json.WriteString(response[key]);
        }
        json.WriteEndObject();
        return CanonicalJsonWriter.Indent(json.WrittenSpan);
    }

    private static byte[]? Embedded(string value)
    {
        var bytes = new byte[value.Length];
        if (!Convert.TryFromBase64String(value, bytes, out var length) || length == 0)
            return null;
        try
        {
            var content = bytes.AsMemory(0, length);
            using var document = JsonDocument.Parse(content);
            return document.RootElement.ValueKind == JsonValueKind.Object && document.RootElement.EnumerateObject().MoveNext() ? content.ToArray() : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }
}

/// <summary>What a subrequest answered (spec 08 §1.3).</summary>
internal static class SubrequestResult
{
    private const string Text = "result.txt";

    /// <summary>Prints the text, or everything when there is none.</summary>
    public static void Print(CommandContext context, IReadOnlyDictionary<string, byte[]> metadata)
    {
        if (metadata.TryGetValue(Text, out var text))
        {
            context.Output.Write(text);
            return;
        }
        foreach (var (key, value) in metadata)
        {
            if (!key.StartsWith("result.", StringComparison.Ordinal))
                continue;
            context.Print(key + "\n");
            context.Output.Write(value);
            context.Print("\n");
        }
    }
}

/// <summary>Standard input of the process.</summary>
internal static class StandardInput
{
    /// <summary>Whether it is a device such as a terminal or <c>/dev/null</c>, from which no definition can come.</summary>
    public static bool IsCharacterDevice()
    {
        using var handle = new Microsoft.Win32.SafeHandles.SafeFileHandle(0, ownsHandle: false);
        return LinuxFile.Stat(handle).Type == UnixMode.Char;
    }
}
