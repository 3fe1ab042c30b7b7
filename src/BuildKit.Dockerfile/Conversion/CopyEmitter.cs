using System.Security.Cryptography;
using System.Text;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Lint;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Stages;
using BuildKit.Dockerfile.Text;
using BuildKit.Llb;
using BuildKit.Oci;

namespace BuildKit.Dockerfile.Conversion;

/// <summary>COPY and ADD (spec 05 §6.7).</summary>
internal sealed class CopyEmitter(ConversionScope scope)
{
    private const int FileMode = 0x1A4; // 0644

    public void Emit(Stage stage, CopyInstruction copy, IReadOnlyList<Stage> sources)
    {
        // A checksum is read before anything else is looked at. That of a repository is a commit.
        var pinsCommit = copy.Checksum.Length > 0 && PinsCommit(copy);
        var checksum = copy.Checksum.Length > 0 && !pinsCommit ? ParseChecksum(copy.Checksum) : default;
        var source = sources.Count > 0 ? sources[0] : null;
        if (source is { IsEmitted: false })
            throw new DockerfileException($"cannot copy from stage {GoQuote.Quote(copy.From)}, it needs to be defined before current stage {GoQuote.Quote(stage.DisplayName)}");
        var destination = Destination(stage, copy.Destination);
        var options = new CopyOptions
        {
            Owner = copy.Chown.Length > 0 ? Owners.Parse(copy.Chown) : null,
            ExcludePatterns = copy.Excludes,
            CreateDestinationPath = true,
        };
        options = ChmodText.Apply(options, copy.Chmod);
        if (copy.Checksum.Length > 0 && !pinsCommit)
            CheckChecksum(copy);

        var environment = stage.Environment;
        var text = DisplayNames.Expand(copy.Source, environment, scope.Shell);
        var keyed = scope.Options.MultiPlatform;
        var name = DisplayNames.Prefix(stage, text, keyed, stage.Platform, environment);
        var action = Sources(stage, copy, source, destination, options, checksum, name);
        var constraints = scope.At(copy.Location).WithCustomName(name) with { IgnoreCache = stage.IgnoreCache };
        if (copy.Link && copy.Chmod.Length == 0 && scope.LlbCaps.Supports(LlbCaps.MergeOp))
        {
            stage.CommandIndex--; // both names carry the number of this step
            var merged = DisplayNames.Prefix(stage, "LINK " + text, keyed, stage.Platform, environment);
            var group = RandomNumberGenerator.GetString("0123456789abcdefghijklmnopqrstuvwxyz", 25);
            var copied = State.Scratch.File(action, constraints with { Platform = stage.Platform, ProgressGroup = new ProgressGroup(group, name, Weak: true) });
            stage.State = stage.State.WithOutput(State.Merge([stage.State, copied], constraints.WithCustomName(merged) with { ProgressGroup = new ProgressGroup(group, name) }));
        }
        else
        {
            stage.State = stage.State.File(action, constraints);
        }
        stage.Image.AddHistory(History(copy), hasLayer: true, scope.HistoryTime);
        foreach (var path in copy.Sources)
        {
            if (!copy.IsAdd || !IsHttp(path))
                (source?.Paths ?? stage.ContextPaths).Add(SlashPath.Join("/", path));
        }
    }

    private Llb.FileAction Sources(Stage stage, CopyInstruction copy, Stage? source, string destination, CopyOptions options, Digest checksum, string name)
    {
        Llb.FileAction? action = null;
        void Add(State from, string path, CopyOptions with) =>
            action = action is null ? Files.Copy(from, path, destination, with) : action.Copy(from, path, destination, with);

        foreach (var path in copy.Sources)
        {
            if (GitReference.Parse(path) is { LooksLocal: false } git)
                Add(Git(copy, git, name), "/", options);
            else if (IsHttp(path))
                Add(Http(copy, path, checksum, name), "/" + FileName(path), options with { AttemptUnpack = copy.Unpack is true });
            else
                AddPath(path);
        }
        foreach (var file in copy.Files)
        {
            var content = State.Scratch.File(
                Files.Mkfile(file.Path, FileMode, Encoding.UTF8.GetBytes(file.Data)),
                OpConstraints.None.WithCustomName("[internal] preparing inline document") with { Platform = stage.Platform });
            Add(content, file.Path, options);
        }
        return action ?? throw new DockerfileException($"{(copy.IsAdd ? "ADD" : "COPY")} has no source");

        void AddPath(string path)
        {
            CheckIgnored(copy, path, source);
            IReadOnlyList<string> patterns = [];
            if (copy.Parents)
            {
                var pivot = path.IndexOf("/./", StringComparison.Ordinal);
                var pattern = SlashPath.Join("/", pivot < 0 ? path : path[(pivot + 3)..]);
                patterns = [pattern[1..]];
                path = pivot < 0 ? "/" : path[..pivot];
            }
            Add(source?.State ?? scope.BuildContext, Absolute(path), options with
            {
                FollowSymlinks = true,
                CopyDirectoryContents = true,
                IncludePatterns = patterns,
                AttemptUnpack = copy.Unpack ?? copy.IsAdd,
                AllowWildcard = true,
                AllowEmptyWildcard = true,
            });
        }
    }

    private static State Git(CopyInstruction copy, GitReference git, string name) => copy.IsAdd
        ? State.Git(git.Remote, git.Fragment, new GitOptions
        {
            KeepGitDir = copy.KeepGitDir,
            Checksum = copy.Checksum,
            ScanSshHostKeys = SshHostKeys.Scan,
            Constraints = OpConstraints.None.WithCustomName(name),
        })
        : throw new DockerfileException("source can't be a git ref for COPY");

    private static State Http(CopyInstruction copy, string url, Digest checksum, string name) => copy.IsAdd
        ? State.Http(url, new HttpOptions
        {
            Filename = FileName(url),
            Checksum = checksum,
            Constraints = OpConstraints.None.WithCustomName(name).WithDescription(DisplayNames.CommandKey, ""),
        })
        : throw new DockerfileException("source can't be a URL for COPY");

    private static bool IsHttp(string path) =>
        path.StartsWith("http://", StringComparison.Ordinal) || path.StartsWith("https://", StringComparison.Ordinal);

    private static string FileName(string url) => UrlPath.LastElement(url) ?? "__unnamed__";

    /// <summary>A source path from the root; what is absolute already is cleaned by the operation itself.</summary>
    private static string Absolute(string path) => path.Length == 0 ? "/" : SlashPath.IsAbsolute(path) ? path : SlashPath.Join("/", path);

    private static string Destination(Stage stage, string path)
    {
        if (SlashPath.IsAbsolute(path))
            return path;
        if (path is "" or ".")
            path = "./";
        var joined = SlashPath.Join("/", stage.Values.Directory, path);
        if (path.EndsWith('/') && !joined.EndsWith('/'))
            return joined + "/";
        if (path.EndsWith("/.", StringComparison.Ordinal))
            return (joined is "/" ? "" : joined) + "/.";
        return joined;
    }

    private static Digest ParseChecksum(string text)
    {
        if (Digest.TryParse(text, out var digest))
            return digest;
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        if (colon <= 0 || colon == text.Length - 1)
            throw new DockerfileException("invalid checksum digest format");
        var length = text[..colon] switch { "sha256" => 64, "sha384" => 96, "sha512" => 128, _ => 0 };
        throw new DockerfileException(length == 0 ? "unsupported digest algorithm"
            : text.Length - colon - 1 != length ? "invalid checksum digest length"
            : "invalid checksum digest format");
    }

    private bool PinsCommit(CopyInstruction copy)
    {
        if (copy.Sources is not [var only] || GitReference.Parse(only) is not { LooksLocal: false } || !scope.LlbCaps.Supports(LlbCaps.SourceGitChecksum))
            return false;
        return copy.Checksum.Length is >= 7 and <= 40 && !copy.Checksum.AsSpan().ContainsAnyExcept("0123456789abcdef")
            ? true
            : throw new DockerfileException($"invalid checksum {copy.Checksum}, expected hex commit hash");
    }

    private static void CheckChecksum(CopyInstruction copy)
    {
        if (copy.Sources.Count != 1)
            throw new DockerfileException("checksum can't be specified for multiple sources");
        if (!GitReference.IsHttpSource(copy.Sources[0]))
            throw new DockerfileException("checksum can't be specified for non-HTTP(S) sources");
    }

    private void CheckIgnored(CopyInstruction copy, string path, Stage? source)
    {
        if (source is null && scope.Ignored is { } ignored && ignored.Matches(path))
        {
            scope.Linter.Report(
                LintRule.CopyIgnoredFile,
                $"Attempting to {(copy.IsAdd ? "Add" : "Copy")} file {GoQuote.Quote(path)} that is excluded by .dockerignore",
                copy.Location);
        }
    }

    private static string History(CopyInstruction copy)
    {
        var text = new StringBuilder(copy.IsAdd ? "ADD" : "COPY");
        if (copy.Parents)
            text.Append(" --parents");
        if (copy.Chown.Length > 0)
            text.Append(" --chown=").Append(copy.Chown);
        if (copy.Chmod.Length > 0)
            text.Append(" --chmod=").Append(copy.Chmod);
        foreach (var path in copy.Sources)
            text.Append(' ').Append(path);
        foreach (var file in copy.Files)
            text.Append(" <<").Append(file.Path);
        return text.Append(' ').Append(copy.Destination).Append(" # buildkit").ToString();
    }
}
