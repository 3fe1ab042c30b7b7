using BuildKit.Client;
using BuildKit.CommandLine;
using BuildKit.Session.FileSync;
using BuildKit.Session.Transport;
using BuildKit.Session.Upload;
using BuildKit.Cli.Values;

namespace BuildKit.Cli.Commands;

/// <summary>
/// <c>buildctl build [-f FILE] [-t NAME] [--push] PATH</c>: a Dockerfile build without naming frontend, context and
/// output type. A remote PATH goes to the frontend as it is, <c>-</c> is standard input.
/// </summary>
internal static class ShortForm
{
    private const string Frontend = "dockerfile.v0";

    /// <summary>Whether the arguments ask for it.</summary>
    public static bool IsUsed(FlagValues flags) =>
        (flags.Positional.Count > 0 && flags.String("frontend").Length == 0) || flags.IsSet("file") || flags.IsSet("tag") || flags.IsSet("push");

    /// <summary>Adds what the short form stands for; what was said at length counts more.</summary>
    /// <param name="flags">The arguments.</param>
    /// <param name="options">What was said at length.</param>
    /// <param name="openInput">Opens standard input, the context where PATH is <c>-</c>: a tar archive or a Dockerfile.</param>
    public static SolveOptions Apply(FlagValues flags, SolveOptions options, Func<Stream> openInput)
    {
        var attributes = new Dictionary<string, string>(options.FrontendAttributes, StringComparer.Ordinal);
        var directories = new Dictionary<string, LocalDirectory>(options.LocalDirectories, StringComparer.Ordinal);
        var context = flags.Positional.Count > 0 ? flags.Positional[0] : "";
        var file = flags.String("file");
        var services = options.SessionServices;
        if (context == "-")
        {
            // The daemon reads it as a web file that the session serves.
            var upload = new UploadProvider();
            attributes.TryAdd("context", upload.Add(SessionId.New(), _ => ValueTask.FromResult(openInput())));
            if (file.Length > 0)
                attributes.TryAdd("filename", file);
            services = [.. services, upload.ToService()];
        }
        else if (IsRemote(context))
        {
            attributes.TryAdd("context", context);
            if (file.Length > 0)
                attributes.TryAdd("filename", file);
        }
        else
        {
            if (context.Length > 0)
                directories.TryAdd("context", BuildValues.Local(context));
            if (file.Length > 0)
            {
                attributes.TryAdd("filename", Path.GetFileName(file));
                var directory = Path.GetDirectoryName(file);
                directories.TryAdd("dockerfile", BuildValues.Local(string.IsNullOrEmpty(directory) ? "." : directory));
            }
            else if (context.Length > 0)
            {
                directories.TryAdd("dockerfile", BuildValues.Local(context));
            }
            if (directories.Count == 0)
                throw new CommandException("name the directory to build, for example: buildctl build -t NAME .");
        }
        return options with
        {
            Frontend = options.Frontend.Length > 0 ? options.Frontend : Frontend,
            FrontendAttributes = attributes,
            LocalDirectories = directories,
            SessionServices = services,
            Exports = Exports(flags, options.Exports),
        };
    }

    private static List<ExportRequest> Exports(FlagValues flags, IReadOnlyList<ExportRequest> given)
    {
        var tags = string.Join(',', flags.List("tag"));
        if (tags.Length == 0)
        {
            return flags.Bool("push") && !given.Any(static export => export.Attributes.ContainsKey("name"))
                ? throw new CommandException("--push needs the name of an image: add -t NAME")
                : [.. given.Select(export => Named(export, "", flags.Bool("push")))];
        }
        IReadOnlyList<ExportRequest> exports = given.Count > 0 ? given : [new ExportRequest("image", new Dictionary<string, string>(StringComparer.Ordinal))];
        return [.. exports.Select(export => Named(export, tags, flags.Bool("push")))];
    }

    private static ExportRequest Named(ExportRequest export, string tags, bool isPushed)
    {
        if (export.Type is not ("image" or "oci" or "docker"))
            return export;
        var attributes = new Dictionary<string, string>(export.Attributes, StringComparer.Ordinal);
        if (tags.Length > 0)
            attributes.TryAdd("name", tags);
        if (isPushed && export.Type == "image")
            attributes.TryAdd("push", "true");
        return export with { Attributes = attributes };
    }

    private static bool IsRemote(string context) =>
        context.Contains("://", StringComparison.Ordinal) || context.StartsWith("git@", StringComparison.Ordinal)
        || context.StartsWith("github.com/", StringComparison.Ordinal);
}
