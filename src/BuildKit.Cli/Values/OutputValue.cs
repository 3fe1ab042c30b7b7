using BuildKit.Client;
using BuildKit.CommandLine;
using BuildKit.Oci;
using BuildKit.Session.FileSend;

namespace BuildKit.Cli.Values;

/// <summary>Values of <c>--output</c> (spec 08 §2.2).</summary>
internal static class OutputValue
{
    private const string Invalid = "invalid output option: output: ";

    /// <summary>Reads a value.</summary>
    /// <param name="text">The value.</param>
    /// <param name="isConsole">Whether standard output is a terminal.</param>
    /// <param name="openStandardOutput">Opens standard output for an exporter's bytes.</param>
    public static ExportRequest Parse(string text, bool isConsole, Func<Stream> openStandardOutput)
    {
        var attributes = CsvRecord.ParsePairs(text);
        if (!attributes.Remove("type", out var type) || type.Length == 0)
            throw new CommandException("--output requires type=<type>");
        if (attributes.TryGetValue("output", out var wrong))
            throw new CommandException($"output={wrong} not supported for --output, you meant dest={wrong}?");
        return Resolve(type, attributes, isConsole, openStandardOutput);
    }

    private static ExportRequest Resolve(string type, Dictionary<string, string> attributes, bool isConsole, Func<Stream> openStandardOutput)
    {
        attributes.TryGetValue("dest", out var destination);
        destination ??= "";
        var isLayout = type is "oci" or "docker" && attributes.TryGetValue("tar", out var tar) && GoSyntax.ParseBool(tar) == false;
        if (type == "local" || isLayout)
        {
            if (destination.Length == 0)
                throw new CommandException($"{Invalid}output directory is required for {type} exporter");
            attributes.Remove("dest");
            return type == "local"
                ? new ExportRequest(type, attributes) { Target = SendTarget.ToDirectory(destination) }
                : new ExportRequest(type, attributes) { LayoutDirectory = destination };
        }
        if (type is not ("tar" or "oci" or "docker"))
        {
            return destination.Length == 0
                ? new ExportRequest(type, attributes)
                : throw new CommandException($"{Invalid}output {destination} is not supported by {type} exporter");
        }
        attributes.Remove("dest");
        if (destination is "" or "-")
        {
            if (isConsole)
                throw new CommandException($"{Invalid}output file is required for {type} exporter. refusing to write to console");
            return new ExportRequest(type, attributes) { Target = SendTarget.ToStream((_, _) => ValueTask.FromResult<Stream?>(openStandardOutput())) };
        }
        if (Directory.Exists(destination))
            throw new CommandException($"{Invalid}destination file is a directory");
        if (!Directory.Exists(Path.GetDirectoryName(Path.GetFullPath(destination))))
            throw new CommandException($"{Invalid}open {destination}: no such file or directory");
        return new ExportRequest(type, attributes) { Target = SendTarget.ToStream((_, _) => ValueTask.FromResult<Stream?>(AtomicFileStream.Create(destination))) };
    }
}
