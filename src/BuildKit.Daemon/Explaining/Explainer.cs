using BuildKit.Protocol.Explain;
using BuildKit.Protocol.Pb;
using BuildKit.Storage.Checksums;
using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Daemon.Explaining;

/// <summary>What an explanation needs of the storage.</summary>
internal interface IExplainedResults
{
    /// <summary>Whether a result can still be used.</summary>
    bool Exists(string resultId);

    /// <summary>Whether a file of a result has the content it had under another mode or owner.</summary>
    /// <param name="resultId">The result.</param>
    /// <param name="before">The file as it was: path, mode, owner, mark.</param>
    /// <param name="cancellationToken">Stops reading.</param>
    Task<bool> HasSameContentAsync(string resultId, ContentEntry before, CancellationToken cancellationToken);
}

/// <summary>
/// Says why steps were executed: for each, the nearest earlier run is looked for, and what differs between the two. Where the
/// difference is an input known by what made it, the same two questions are asked of the steps that made the two, down to the step in
/// which the difference begins.
/// </summary>
/// <param name="store">What is remembered.</param>
/// <param name="results">The storage.</param>
internal sealed class Explainer(StepStore store, IExplainedResults results)
{
    private const int DeepestOrigin = 1_000;

    /// <summary>Explains a build.</summary>
    /// <param name="reference">Its ref; empty for the last one.</param>
    /// <param name="isLive">Its results are held: files may be read to tell a changed mode from a changed content.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>Null when the build is not remembered.</returns>
    public async Task<BuildExplanation?> ExplainAsync(string reference, bool isLive, CancellationToken cancellationToken)
    {
        if (store.GetBuild(reference) is not var (build, made))
            return null;
        if (made is not null)
            return made;
        var explanation = new BuildExplanation
        {
            Ref = build.Ref,
            Started = Time(build.Started),
            Completed = build.Completed == 0 ? null : Time(build.Completed),
            Failed = build.Failed,
            Since = store.RememberedSince() is { } since ? Timestamp.FromDateTimeOffset(since) : null,
        };
        explanation.Imports.AddRange(build.Imports);
        foreach (var step in store.GetSteps(build.Ref).Where(step => step.Record.ImportedFrom.Length == 0).OrderBy(step => step.Record.Started).ThenBy(step => step.Sequence))
            explanation.Steps.Add(await new One(store, results, build, step, isLive, cancellationToken).ExplainAsync());
        return explanation;
    }

    private static Timestamp Time(long milliseconds) => Timestamp.FromDateTimeOffset(DateTimeOffset.FromUnixTimeMilliseconds(milliseconds));

    /// <summary>The explanation of one step.</summary>
    private sealed class One(StepStore store, IExplainedResults results, BuildRecord build, StoredStep step, bool isLive, CancellationToken cancellationToken)
    {
        private readonly StepRecord _record = step.Record;
        private readonly HashSet<string> _arguments = [.. build.Options.Keys.Where(name => name.StartsWith(BuildLog.ArgumentPrefix, StringComparison.Ordinal)).Select(name => name[BuildLog.ArgumentPrefix.Length..])];

        public async Task<StepExplanation> ExplainAsync()
        {
            var told = new StepExplanation { Vertex = _record.Vertex, Name = _record.Name, Kind = _record.Kind, Started = Time(_record.Started) };
            if (_record.ReadsClient)
            {
                told.Cause = "client-files";
                return told;
            }
            told.Notes.AddRange(Notes());
            told.Missed.AddRange(_record.Imports.Where(name => build.Imports.All(import => import.Name != name || import.Problem.Length == 0)).Distinct(StringComparer.Ordinal));
            if (_record.Unreadable)
            {
                (told.Cause, told.Error) = ("unreadable", _record.Error);
                return told;
            }
            var nearest = Comparison.Nearest(store.GetCandidates(step, build.Ref), step);
            if (_record.IgnoreCache)
            {
                told.Cause = "no-cache";
                if (build.Options.TryGetValue(BuildLog.NoCacheOption, out var stages))
                    told.Differences.Add(new Difference { Field = "no-cache", After = stages });
                if (nearest is { IsEqual: true } && nearest.Before.Record.Error.Length == 0)
                    told.Earlier = Describe(nearest.Before);
                return told;
            }
            if (_record.LoadFailures.Count > 0)
            {
                var failure = _record.LoadFailures[0];
                (told.Cause, told.Error) = ("unloadable", failure.Error);
                if (store.GetMaker(failure.Result) is { } maker)
                    told.Earlier = Describe(maker);
                return told;
            }
            if (nearest is null)
            {
                told.Cause = "never";
                return told;
            }
            told.Earlier = Describe(nearest.Before);
            if (nearest.IsEqual)
                ExplainEqual(told, nearest.Before);
            else
                await ExplainDifferentAsync(told, nearest);
            return told;
        }

        /// <summary>The earlier run did the same, and still its result was not used.</summary>
        private void ExplainEqual(StepExplanation told, StoredStep before)
        {
            if (before.Results.FirstOrDefault(result => result.PrunedAt is not null) is { PrunedAt: { } at } pruned)
            {
                told.Cause = "pruned";
                told.Loss = new Loss { Time = Timestamp.FromDateTimeOffset(at), By = pruned.PrunedBy };
            }
            else if (before.Record.Error.Length > 0)
            {
                (told.Cause, told.Error) = (before.Record.Error == StepRecorder.Canceled ? "canceled" : "failed", before.Record.Error);
            }
            else if (before.Results.Any(result => !results.Exists(result.Id)))
            {
                told.Cause = "gone";
            }
            else if (before.Record.Completed >= _record.Started)
            {
                told.Cause = "at-once";
            }
            else
            {
                told.Cause = "no-key";
            }
        }

        private async Task ExplainDifferentAsync(StepExplanation told, Comparison comparison)
        {
            told.Differences.AddRange(OwnDifferences(comparison));
            told.Cause = told.Differences.Count == 0 ? "" : _record.Inputs.Count == 0 ? "source" : "operation";
            foreach (var i in comparison.DifferentInputs)
            {
                var (before, after) = (comparison.Before.Record.Inputs[i], _record.Inputs[i]);
                if (before.Content.Length > 0 && after.Content.Length > 0)
                {
                    if (told.Files is not null)
                        continue;
                    (told.Input, told.Files) = await FilesAsync(comparison.Before, step, i);
                    if (told.Cause.Length == 0)
                        told.Cause = "files";
                }
                else if (told.Origin is null)
                {
                    told.Origin = await OriginAsync(comparison.Before, step, i, told);
                    if (told.Cause.Length == 0)
                        told.Cause = "input";
                }
            }
            if (told.Cause.Length == 0 && comparison.UnknownInputs is [var unknown, ..])
            {
                told.Cause = "input";
                told.Origin = new Origin { Vertex = _record.Inputs[unknown].Vertex, Name = _record.Inputs[unknown].Name, Cause = "unknown" };
            }
        }

        /// <summary>What differs in the operation itself; nothing when it is the same.</summary>
        private List<Difference> OwnDifferences(Comparison comparison)
        {
            var (before, after) = (comparison.Before.Record, comparison.After.Record);
            var found = new List<Difference>();
            if (!comparison.SameOperation)
                found.AddRange(DefinitionDifferences(before, after));
            if (!comparison.SameCount)
                found.Add(Changed("inputs", "the number of its inputs", Number(before.Inputs.Count), Number(after.Inputs.Count)));
            // The part of an input that is used is not in the operation's digest.
            if (found.Count == 0 && comparison.DifferentInputs.Any(i => before.Inputs[i].Selector != after.Inputs[i].Selector))
                found.AddRange(DefinitionDifferences(before, after));
            if (found.Count == 0 && !comparison.SameOperation)
                found.Add(Changed("definition", "its definition", "", ""));
            return found;
        }

        private IEnumerable<Difference> DefinitionDifferences(StepRecord before, StepRecord after)
        {
            if (before.Op.IsEmpty || after.Op.IsEmpty)
                return [];
            var found = OperationDifferences.Between(Op.Parser.ParseFrom(before.Op), Op.Parser.ParseFrom(after.Op), _arguments);
            return found.Count == 0 && after.Inputs.Count == 0 && before.Pin != after.Pin
                ? [Changed("pin", OperationDifferences.SourceName(Op.Parser.ParseFrom(after.Op).Source?.Identifier ?? after.Name), before.Pin, after.Pin)]
                : found;
        }

        /// <summary>Files of an input that counts by content: what differs, and whose files they are.</summary>
        private async Task<(string Input, Files Files)> FilesAsync(StoredStep before, StoredStep after, int index)
        {
            var (old, now) = (before.Record.Inputs[index], after.Record.Inputs[index]);
            var files = new Files { Forgotten = true };
            if (store.GetList(old.Content) is { } listBefore && store.GetList(now.Content) is { } listAfter)
            {
                files = await FileDifferences.BetweenAsync(
                    ContentListing.Load(listBefore), ContentListing.Load(listAfter),
                    isLive && now.Result.Length > 0 ? entry => results.HasSameContentAsync(now.Result, entry, cancellationToken) : null);
            }
            var isClient = MakerOf(after, index)?.Record.ReadsClient ?? now.Classes.Count == 0;
            return (isClient ? "" : now.Name, files);
        }

        /// <summary>Where the difference of an input begins that is known by what made it.</summary>
        private async Task<Origin> OriginAsync(StoredStep before, StoredStep after, int index, StepExplanation told)
        {
            var name = after.Record.Inputs[index].Name;
            var vertex = after.Record.Inputs[index].Vertex;
            for (var depth = 0; depth < DeepestOrigin; depth++)
            {
                if (MakerOf(before, index) is not { } old || MakerOf(after, index) is not { } now)
                    break;
                (name, vertex) = (now.Record.Name, now.Record.Vertex);
                var comparison = Comparison.Of(old, now);
                if (!comparison.SameOperation && IsOn(now, old))
                    return new Origin { Vertex = vertex, Name = name, Cause = "added" };
                if (!comparison.SameOperation && IsOn(old, now))
                    return new Origin { Vertex = old.Record.Vertex, Name = old.Record.Name, Cause = "removed" };
                var origin = new Origin { Vertex = vertex, Name = name };
                if (old.Record.Kind != now.Record.Kind)
                {
                    origin.Cause = "replaced";
                    origin.Differences.Add(Changed("step", "the step", old.Record.Name, name));
                    return origin;
                }
                var own = OwnDifferences(comparison);
                if (own.Count > 0)
                {
                    origin.Cause = now.Record.Inputs.Count == 0 ? "source" : "operation";
                    origin.Differences.AddRange(own);
                    return origin;
                }
                if (comparison.DifferentInputs.Count == 0)
                {
                    origin.Cause = "rerun";
                    return origin;
                }
                index = comparison.DifferentInputs.FirstOrDefault(i => IsContent(old, now, i), comparison.DifferentInputs[0]);
                if (IsContent(old, now, index))
                {
                    origin.Cause = "files";
                    (origin.Input, var files) = await FilesAsync(old, now, index);
                    told.Files ??= files;
                    return origin;
                }
                (before, after) = (old, now);
            }
            return new Origin { Vertex = vertex, Name = name, Cause = "unknown" };
        }

        private static bool IsContent(StoredStep before, StoredStep after, int index) =>
            before.Record.Inputs[index].Content.Length > 0 && after.Record.Inputs[index].Content.Length > 0;

        /// <summary>Whether a step works on the result of another one.</summary>
        private static bool IsOn(StoredStep upper, StoredStep lower) =>
            lower.Class.Length > 0 && upper.Record.Inputs is [{ } first, ..] && first.Classes.Contains(lower.Class);

        private StoredStep? MakerOf(StoredStep consumer, int index)
        {
            var input = consumer.Record.Inputs[index];
            return input.Result.Length > 0 && store.GetMaker(input.Result, input.Vertex, input.Name) is { } maker
                ? maker
                : store.GetSteps(consumer.Build).LastOrDefault(candidate => candidate.Record.Vertex == input.Vertex);
        }

        private IEnumerable<Note> Notes()
        {
            if (_record.Op.IsEmpty || Op.Parser.ParseFrom(_record.Op).Exec is not { } exec)
                return [];
            var notes = new List<Note>();
            foreach (var mount in exec.Mounts)
            {
                if (mount.MountType == MountType.Secret)
                    notes.Add(new Note { Kind = "secret", Subject = mount.SecretOpt?.ID ?? mount.Dest });
                else if (mount.MountType == MountType.Ssh)
                    notes.Add(new Note { Kind = "ssh", Subject = mount.SSHOpt?.ID ?? mount.Dest });
                else if (mount.MountType == MountType.Cache)
                    notes.Add(new Note { Kind = "cache-mount", Subject = mount.Dest });
            }
            notes.AddRange(exec.Secretenv.Select(secret => new Note { Kind = "secret", Subject = secret.ID }));
            return notes;
        }

        private Earlier Describe(StoredStep step) => new()
        {
            Build = step.Build,
            Name = step.Record.Name,
            Time = Time(step.Record.Started),
            ImportedFrom = step.Record.ImportedFrom,
            Elsewhere = step.Record.Scope.Length > 0 && build.Scope.Length > 0 && step.Record.Scope != build.Scope,
        };

        private static Difference Changed(string field, string subject, string before, string after) =>
            new() { Field = field, Subject = subject, Change = "changed", Before = before, After = after };

        private static string Number(int number) => number.ToString(System.Globalization.CultureInfo.InvariantCulture);
    }
}
