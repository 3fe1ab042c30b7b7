using System.Globalization;
using System.Text;
using BuildKit.Protocol.Explain;
using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Cli.Text;

/// <summary>Says why steps were executed, in sentences (docs/explain-cache.md).</summary>
/// <param name="time">The clock: times are told in its zone.</param>
/// <param name="numberOf">The number a vertex was shown with; null for none.</param>
internal sealed class ExplanationText(TimeProvider time, Func<string, int?> numberOf)
{
    private const int FilesOfStep = 10;
    private const int FilesOfOrigin = 2;
    private const int LongestInline = 60;
    private const int LongestValue = 200;

    /// <summary>A whole build.</summary>
    public string Of(BuildExplanation explanation)
    {
        var text = new StringBuilder();
        var clientReads = explanation.Steps.Count(static step => step.Cause == "client-files");
        if (clientReads == explanation.Steps.Count)
            text.Append(explanation.Failed ? "No step was executed.\n" : "Every step came from the cache.\n");
        else
            text.Append("Why steps were executed:\n");
        foreach (var step in explanation.Steps.Where(static step => step.Cause != "client-files"))
        {
            var number = numberOf(step.Vertex) is { } shown ? string.Create(CultureInfo.InvariantCulture, $"#{shown} ") : "";
            text.Append(CultureInfo.InvariantCulture, $"{number}{step.Name}\n   {Sentence(step, explanation)}\n");
            foreach (var detail in Details(step))
                text.Append(CultureInfo.InvariantCulture, $"     {detail}\n");
        }
        if (clientReads > 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"{clientReads} {(clientReads == 1 ? "step" : "steps")} read the client's files, which is done in every build; their content is what counts.\n");
        }
        foreach (var import in explanation.Imports.Where(static import => import.Problem.Length > 0))
            text.Append(CultureInfo.InvariantCulture, $"The imported cache {import.Name} was not used: {Problem(import.Problem)} ({OneLine(import.Error)})\n");
        return text.ToString();
    }

    /// <summary>The reason of one step: a sentence without its subject.</summary>
    public string Sentence(StepExplanation step, BuildExplanation explanation) => step.Cause switch
    {
        "client-files" => "runs in every build: it reads the client's files",
        "never" => "ran because it was never " + (IsSource(step) ? "fetched" : "built") + " here" + Memory(explanation) + Imports(step, explanation),
        "no-cache" => NoCache(step),
        "unreadable" => $"has no key, because a file it needs cannot be read: {OneLine(step.Error)}",
        "unloadable" => $"ran because its result{Of(step.Earlier)} could not be loaded: {OneLine(step.Error)}",
        "pruned" => $"ran because its result{Of(step.Earlier)} was pruned on {When(step.Loss.Time)} by {step.Loss.By}",
        "gone" => $"ran because its result{Of(step.Earlier)} is gone from storage, though it was not pruned",
        "failed" => $"ran because it failed when it last ran, on {When(step.Earlier.Time)}",
        "canceled" => $"ran because it was cancelled when it last ran, on {When(step.Earlier.Time)}",
        "at-once" => $"ran because the same step of build {step.Earlier.Build} had not ended when this one was looked up",
        "no-key" => $"ran although its result{Of(step.Earlier)} is there: no key leads to it any more",
        "source" or "operation" => $"ran because {Own(step)}",
        "files" => step.Input.Length == 0
            ? $"ran because its files changed since {When(step.Earlier.Time)}{From(step.Earlier)}"
            : $"ran because the files it takes from {Short(step.Input)} changed since {When(step.Earlier.Time)}{From(step.Earlier)}",
        "input" => $"ran because its input changed: {Origin(step)}",
        _ => $"ran for a reason this client does not know ({step.Cause})",
    };

    /// <summary>What follows the sentence, line by line.</summary>
    public IEnumerable<string> Details(StepExplanation step)
    {
        var isOrigin = step.Cause is "source" or "operation";
        var own = isOrigin ? step.Differences : step.Origin?.Differences;
        if (own is { Count: > 0 } && step.Cause is "source" or "operation" or "input")
        {
            foreach (var line in Values(own[0]))
                yield return line;
            foreach (var difference in own.Skip(1))
            {
                yield return "also: " + Phrase(difference, "") + Inline(difference);
                foreach (var line in Values(difference))
                    yield return line;
            }
        }
        if (isOrigin && step.Files is not null)
            yield return step.Input.Length == 0 ? "also: its files changed" : $"also: the files it takes from {Short(step.Input)} changed";
        if (step.Files is { } files)
            yield return FilesText(files, step.Cause == "input" ? FilesOfOrigin : FilesOfStep);
        if (step.Cause is not "input" && step.Origin is not null)
            yield return $"also: its input changed: {Origin(step)}";
        if (step.Cause is not "never")
        {
            foreach (var import in step.Missed)
                yield return $"the imported cache {import} has nothing for it";
        }
        foreach (var note in step.Notes)
        {
            yield return note.Kind switch
            {
                "secret" => $"note: the secret {note.Subject} does not count: a changed one makes no step run",
                "ssh" => $"note: the ssh agent {note.Subject} does not count: other keys make no step run",
                _ => $"note: what is in the cache mount at {note.Subject} does not count",
            };
        }
    }

    private string NoCache(StepExplanation step)
    {
        var reason = step.Differences is not [{ After: var stages }, ..] ? "its definition says not to use the cache"
            : stages.Length == 0 ? "the cache was not to be used (no-cache)"
            : $"the cache was not to be used for {stages} (no-cache)";
        return "ran because " + reason + (step.Earlier is null ? "" : $"; else its result{Of(step.Earlier)} would have been taken");
    }

    private string Own(StepExplanation step)
    {
        if (step.Differences is not [var first, ..])
            return $"its definition changed since {When(step.Earlier.Time)}";
        return first.Field == "pin"
            ? $"{first.Subject} is {(IsImage(first.Subject) ? "another image than" : "not what it was")} on {When(step.Earlier.Time)}: {Pin(first.Before)} -> {Pin(first.After)}"
            : Phrase(first, $" since {When(step.Earlier.Time)}{From(step.Earlier)}") + Inline(first);
    }

    private string Origin(StepExplanation step)
    {
        var origin = step.Origin;
        var (name, since) = (Short(origin.Name), When(step.Earlier.Time));
        var first = origin.Differences.FirstOrDefault();
        return origin.Cause switch
        {
            "files" => origin.Input.Length == 0 ? $"{name} has other files than on {since}" : $"{name} takes other files from {Short(origin.Input)} than on {since}",
            "operation" when first is not null => $"in {name}, {Phrase(first, $" since {since}")}{Inline(first)}",
            "source" when first?.Field == "pin" && !IsImage(first.Subject) => $"{first.Subject} is not what it was on {since}: {Pin(first.Before)} -> {Pin(first.After)}",
            "source" when first?.Field == "identifier" && !IsImage(first.After) => $"it takes {first.After} and took {first.Before} on {since}",
            "source" when first?.Field == "pin" => $"the base image {first.Subject} is another one than on {since}: {Pin(first.Before)} -> {Pin(first.After)}",
            "source" when first?.Field == "identifier" => $"the base image is {first.After} and was {first.Before} on {since}",
            "source" when first is not null => $"in {name}, {Phrase(first, $" since {since}")}{Inline(first)}",
            "added" => $"{name} was put before it since {since}",
            "removed" => $"{name}, which came before it on {since}, is gone",
            "replaced" when first is not null => $"{name} stands where {Short(first.Before)} stood on {since}",
            "rerun" => $"{name} was made anew since {since}",
            _ => $"{name} is not what it was on {since}; what it was is not remembered",
        };
    }

    private static string FilesText(Files files, int most)
    {
        if (files.Forgotten)
            return "which files those were is not remembered";
        if (files.Total == 0)
            return "no file of those remembered differs";
        var told = files.Changes.Take(most).Select(static file =>
            $"{file.Change} {file.Path}" + (file.What.Count > 0 ? $" ({string.Join(", ", file.What.Select(What))})" : "")).ToList();
        if (files.Total > told.Count)
            told.Add(string.Create(CultureInfo.InvariantCulture, $"{files.Total - told.Count} more"));
        return string.Join(", ", told) + (files.Partial ? "; there are too many files to tell each" : "");

        static string What(Difference what) =>
            what.Field == "kind" ? $"{what.Before} -> {what.After}" : what.Subject + (what.After.Length > 0 ? $" {what.Before} -> {what.After}" : "");
    }

    private string Imports(StepExplanation step, BuildExplanation explanation)
    {
        var text = new StringBuilder();
        foreach (var import in step.Missed)
            text.Append(CultureInfo.InvariantCulture, $", and the imported cache {import} has nothing for it");
        foreach (var import in explanation.Imports.Where(static import => import.Problem.Length > 0))
            text.Append(CultureInfo.InvariantCulture, $", and the imported cache {import.Name} could not be used: {Problem(import.Problem)}");
        return text.ToString();
    }

    private string Memory(BuildExplanation explanation) => explanation.Since is { } since ? $", as far back as is remembered ({When(since)})" : "";

    private static string Problem(string problem) => problem switch
    {
        "not-found" => "it does not exist",
        "unreachable" => "it cannot be reached",
        "denied" => "access is denied",
        "invalid" => "what is there is no cache",
        _ => "reading it failed",
    };

    private static string Phrase(Difference difference, string since) => difference.Change switch
    {
        "added" => $"{difference.Subject} was added{since}",
        "removed" => $"{difference.Subject} was removed{since}",
        _ => $"{difference.Subject} changed{since}",
    };

    private static bool IsInline(Difference difference) =>
        difference.Before.Length <= LongestInline && difference.After.Length <= LongestInline && !difference.Before.Contains('\n') && !difference.After.Contains('\n');

    private static string Inline(Difference difference) => (difference.Before + difference.After).Length == 0 || !IsInline(difference) ? "" : difference.Change switch
    {
        "added" => ": " + Value(difference.After),
        "removed" => "",
        _ => $": {Value(difference.Before)} -> {Value(difference.After)}",
    };

    private static IEnumerable<string> Values(Difference difference)
    {
        // What an image's name stood for is told in short.
        if (IsInline(difference) || difference.Field == "pin")
            yield break;
        if (difference.Change != "added")
            yield return "was: " + Cut(difference.Before);
        if (difference.Change != "removed")
            yield return "now: " + Cut(difference.After);
    }

    private static string Value(string value) => value.Length == 0 ? "\"\"" : value;

    private static string Cut(string value)
    {
        var line = value.Replace("\n", "\\n", StringComparison.Ordinal);
        return line.Length <= LongestValue ? line : line[..LongestValue] + "...";
    }

    private static string OneLine(string text) => text.ReplaceLineEndings(" ");

    private static string Pin(string pin) => pin.Length > 19 && pin.StartsWith("sha256:", StringComparison.Ordinal) ? pin[..19] : Value(pin);

    /// <summary>A name without what stands in brackets before it.</summary>
    private static string Short(string name)
    {
        var end = name.StartsWith('[') ? name.IndexOf("] ", StringComparison.Ordinal) : -1;
        return end < 0 ? name : name[(end + 2)..];
    }

    /// <summary>Whether a source's name is an image's: other sources have a scheme.</summary>
    private static bool IsImage(string source) => !source.Contains("://", StringComparison.Ordinal);

    private static bool IsSource(StepExplanation step) => step.Kind is not ("exec" or "file" or "merge" or "diff" or "build" or "");

    private string Of(Earlier? earlier) => earlier is null ? "" : $" of {When(earlier.Time)}{From(earlier)}";

    private static string From(Earlier earlier) => earlier.ImportedFrom.Length > 0 ? $" (imported from {earlier.ImportedFrom})"
        : earlier.Elsewhere ? " (in a build of another directory)" : "";

    private string When(Timestamp at)
    {
        var local = TimeZoneInfo.ConvertTime(at.ToDateTimeOffset(), time.LocalTimeZone);
        return local.ToString(local.Year == time.GetLocalNow().Year ? "d MMM HH:mm" : "d MMM yyyy HH:mm", CultureInfo.InvariantCulture);
    }
}
