using BuildKit.Database;
using BuildKit.Oci;
using BuildKit.Protocol.Explain;
using Google.Protobuf;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace BuildKit.Daemon.Explaining;

/// <summary>How much is remembered.</summary>
public sealed record StepStoreLimits
{
    /// <summary>Steps.</summary>
    public int Steps { get; init; } = 20_000;

    /// <summary>Bytes of all steps' records.</summary>
    public long StepBytes { get; init; } = 64 << 20;

    /// <summary>Bytes of all lists of files.</summary>
    public long ListBytes { get; init; } = 64 << 20;

    /// <summary>Builds.</summary>
    public int Builds { get; init; } = 200;

    /// <summary>Steps are counted after this many were added: so many more than allowed may be there for a while.</summary>
    public int TrimEvery { get; init; } = 64;
}

/// <summary>A remembered step, its place in time, and what became of its result.</summary>
/// <param name="Sequence">Grows with every step.</param>
/// <param name="Record">What is kept of it.</param>
/// <param name="Class">What it counts as in the keys of steps on top of it.</param>
/// <param name="Root">Class of the source at the bottom of its first inputs.</param>
/// <param name="Build">A build it ran in.</param>
/// <param name="Results">Its results' ids; none when it failed.</param>
public sealed record StoredStep(long Sequence, StepRecord Record, string Class, string Root, string Build, IReadOnlyList<StoredResult> Results);

/// <summary>A result, and when and by whom it was pruned.</summary>
public sealed record StoredResult(string Id, DateTimeOffset? PrunedAt, string PrunedBy);

/// <summary>
/// What the daemon remembers of executed steps, in a database of its own: losing it loses explanations only. Bounded: the
/// steps that go first are those whose results are gone, then the oldest. Writes are queued and share transactions; one
/// that fails is logged and forgotten. All members may be called concurrently.
/// </summary>
public sealed class StepStore : IDisposable
{
    private const int PerReason = 24;

    private static readonly DatabaseSchema Schema = new(
        """
        CREATE TABLE step (
          seq INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, position TEXT NOT NULL,
          class TEXT NOT NULL, root TEXT NOT NULL, below TEXT NOT NULL, build TEXT NOT NULL,
          size INTEGER NOT NULL, body BLOB NOT NULL);
        CREATE INDEX step_size ON step (size);
        CREATE INDEX step_operation ON step (operation, seq);
        CREATE INDEX step_name ON step (name, seq);
        CREATE INDEX step_position ON step (position, root, seq);
        CREATE INDEX step_below ON step (below, kind, seq);
        CREATE TABLE step_result (
          result TEXT NOT NULL, seq INTEGER NOT NULL REFERENCES step (seq) ON DELETE CASCADE, pruned INTEGER, pruned_by TEXT,
          PRIMARY KEY (result, seq)) WITHOUT ROWID;
        CREATE INDEX step_result_seq ON step_result (seq);
        CREATE TABLE build (id INTEGER PRIMARY KEY AUTOINCREMENT, ref TEXT NOT NULL UNIQUE, body BLOB NOT NULL, explanation BLOB);
        CREATE TABLE build_step (ref TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (ref, seq)) WITHOUT ROWID;
        CREATE TABLE file_list (content TEXT PRIMARY KEY, used INTEGER NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL);
        CREATE INDEX file_list_used ON file_list (used, size);
        CREATE TABLE forgotten (steps INTEGER NOT NULL);
        INSERT INTO forgotten VALUES (0);
        """);

    private readonly SqliteDatabase _database;
    private readonly StepStoreLimits _limits;
    private int _sinceTrim;

    private readonly ILogger _log;

    private StepStore(SqliteDatabase database, StepStoreLimits limits, ILogger log) => (_database, _limits, _log) = (database, limits, log);

    /// <summary>Opens or makes the file. A damaged one is put aside and an empty one takes its place.</summary>
    public static StepStore Open(string path, StepStoreLimits? limits = null, ILogger? log = null) =>
        new(SqliteDatabase.Open(path, Schema), limits ?? new StepStoreLimits(), log ?? NullLogger.Instance);

    /// <summary>Remembers a step and the builds that wanted it.</summary>
    /// <param name="step">The step; the classes of its inputs are completed here.</param>
    /// <param name="results">Ids of its results.</param>
    /// <param name="lists">Files of contents it looked at, by content digest.</param>
    /// <param name="builds">Refs of the builds; the first one is the one told of.</param>
    public Task AddAsync(StepRecord step, IReadOnlyList<string> results, IReadOnlyList<(string Content, byte[] List)> lists, IReadOnlyList<string> builds) =>
        WriteAsync(db => Add(db, step, results, lists, builds));

    /// <summary>Whether the files of a content are remembered.</summary>
    public bool HasList(string content) => _database.Read(db => db.QueryInt64("SELECT COUNT(*) FROM file_list WHERE content=?1", content)) > 0;

    /// <summary>Files of a content as saved; null when they are not remembered.</summary>
    public byte[]? GetList(string content) =>
        _database.Read(db => db.QueryFirst("SELECT body FROM file_list WHERE content=?1", static row => row.BlobOrNull(0), content));

    /// <summary>Takes note that results are gone.</summary>
    /// <param name="referenceIds">Ids of the storage's records.</param>
    /// <param name="workerId">The worker they belonged to.</param>
    /// <param name="time">When.</param>
    /// <param name="by">Who pruned them.</param>
    public Task MarkPrunedAsync(IReadOnlyList<string> referenceIds, string workerId, DateTimeOffset time, string by) => WriteAsync(db =>
    {
        foreach (var id in referenceIds)
            db.Execute("UPDATE step_result SET pruned=?2, pruned_by=?3 WHERE result=?1 AND pruned IS NULL", $"{workerId}::{id}", time.ToUnixTimeMilliseconds(), by);
    });

    /// <summary>Remembers a build, in place of an older one of the same ref.</summary>
    /// <param name="build">The build.</param>
    /// <param name="isNew">It begins: steps of an older one of this ref are none of its.</param>
    public Task PutBuildAsync(BuildRecord build, bool isNew) => WriteAsync(db =>
    {
        if (isNew)
        {
            db.Execute("DELETE FROM build WHERE ref=?1", build.Ref);
            db.Execute("DELETE FROM build_step WHERE ref=?1", build.Ref);
        }
        db.Execute("INSERT INTO build (ref, body) VALUES (?1, ?2) ON CONFLICT (ref) DO UPDATE SET body=?2", build.Ref, build.ToByteArray());
        if (!isNew)
            return;
        db.Execute("DELETE FROM build_step WHERE ref IN (SELECT ref FROM build ORDER BY id DESC LIMIT -1 OFFSET ?1)", _limits.Builds);
        db.Execute("DELETE FROM build WHERE id IN (SELECT id FROM build ORDER BY id DESC LIMIT -1 OFFSET ?1)", _limits.Builds);
    });

    /// <summary>Keeps a build's explanation as it was made while its results were at hand.</summary>
    public Task PutExplanationAsync(BuildExplanation explanation) =>
        WriteAsync(db => db.Execute("UPDATE build SET explanation=?2 WHERE ref=?1", explanation.Ref, explanation.ToByteArray()));

    /// <summary>A build by its ref, or the last one; null when there is none. With its explanation if that was made.</summary>
    public (BuildRecord Build, BuildExplanation? Explanation)? GetBuild(string reference) => _database.Read(db =>
    {
        var found = reference.Length == 0
            ? db.Query("SELECT body, explanation FROM build ORDER BY id DESC LIMIT 1", static row => (Body: row.BlobOrNull(0), Explanation: row.BlobOrNull(1)))
            : db.Query("SELECT body, explanation FROM build WHERE ref=?1", static row => (Body: row.BlobOrNull(0), Explanation: row.BlobOrNull(1)), reference);
        return found.Count == 0
            ? ((BuildRecord, BuildExplanation?)?)null
            : (BuildRecord.Parser.ParseFrom(found[0].Body), found[0].Explanation is { Length: > 0 } made ? BuildExplanation.Parser.ParseFrom(made) : null);
    });

    /// <summary>Steps of a build, in the order they were remembered.</summary>
    public IReadOnlyList<StoredStep> GetSteps(string reference) => _database.Read(db =>
        Load(db, db.Query("SELECT seq FROM build_step WHERE ref=?1 ORDER BY seq", static row => row.Int64(0), reference)));

    /// <summary>The step a result was made by; null when it is not remembered. Several steps may have made the same one, images with
    /// the same layers for example: then the one that is meant by its digest or its name, else the first.</summary>
    public StoredStep? GetMaker(string result, string vertex = "", string name = "") => _database.Read(db =>
        Load(db, db.Query("SELECT seq FROM step_result WHERE result=?1 ORDER BY seq LIMIT ?2", static row => row.Int64(0), result, PerReason))
            .OrderByDescending(step => step.Record.Vertex == vertex).ThenByDescending(step => step.Record.Name == name).ThenBy(step => step.Sequence).FirstOrDefault());

    /// <summary>Earlier steps that may be the same step: with the same operation, the same name, the same place in the same
    /// chain, or the same input; those of the same build left out. Newest first.</summary>
    public IReadOnlyList<StoredStep> GetCandidates(StoredStep step, string build) => _database.Read(db =>
    {
        const string notOfBuild = " AND seq<?1 AND NOT EXISTS (SELECT 1 FROM build_step b WHERE b.ref=?2 AND b.seq=step.seq) ORDER BY seq DESC LIMIT ?3";
        var found = new SortedSet<long>();
        var (kind, below) = (step.Record.Kind, Below(step.Record));
        if (step.Record.Operation.Length > 0)
            found.UnionWith(db.Query("SELECT seq FROM step WHERE operation=?4" + notOfBuild, static row => row.Int64(0), step.Sequence, build, PerReason, step.Record.Operation));
        found.UnionWith(db.Query("SELECT seq FROM step WHERE name=?4 AND kind=?5" + notOfBuild, static row => row.Int64(0), step.Sequence, build, PerReason, step.Record.Name, kind));
        if (step.Record.Inputs.Count == 0)
            found.UnionWith(db.Query("SELECT seq FROM step WHERE position=?4 AND kind=?5" + notOfBuild, static row => row.Int64(0), step.Sequence, build, PerReason, step.Record.Position, kind));
        else if (step.Root.Length > 0)
            found.UnionWith(db.Query("SELECT seq FROM step WHERE position=?4 AND root=?5 AND kind=?6" + notOfBuild, static row => row.Int64(0), step.Sequence, build, PerReason, step.Record.Position, step.Root, kind));
        if (below.Length > 0)
            found.UnionWith(db.Query("SELECT seq FROM step WHERE below=?4 AND kind=?5" + notOfBuild, static row => row.Int64(0), step.Sequence, build, PerReason, below, kind));
        return Load(db, [.. found.Reverse()]);
    });

    /// <summary>When the oldest remembered step ran, if older ones were forgotten.</summary>
    public DateTimeOffset? RememberedSince() => _database.Read(db =>
    {
        if (db.QueryInt64("SELECT steps FROM forgotten") == 0)
            return (DateTimeOffset?)null;
        var oldest = db.QueryFirst("SELECT body FROM step ORDER BY seq LIMIT 1", static row => row.BlobOrNull(0));
        return oldest is null ? null : DateTimeOffset.FromUnixTimeMilliseconds(StepRecord.Parser.ParseFrom(oldest).Started);
    });

    /// <summary>How much is remembered now: steps, their bytes, bytes of lists, builds.</summary>
    public (long Steps, long StepBytes, long ListBytes, long Builds) Size() => _database.Read(db => (
        db.QueryInt64("SELECT COUNT(*) FROM step"), db.QueryInt64("SELECT COALESCE(SUM(size), 0) FROM step"),
        db.QueryInt64("SELECT COALESCE(SUM(size), 0) FROM file_list"), db.QueryInt64("SELECT COUNT(*) FROM build")));

    /// <summary>Commits everything remembered so far.</summary>
    public void Flush() => _database.Flush();

    /// <inheritdoc/>
    public void Dispose() => _database.Dispose();

    private async Task WriteAsync(Action<SqliteConnection> write)
    {
        try
        {
            await _database.WriteAsync(write);
        }
        catch (SqliteException error)
        {
            // Documented: what cannot be remembered cannot be explained, and harms no build.
            _log.LogError(error, "an executed step could not be remembered for explanations");
        }
    }

    private void Add(SqliteConnection db, StepRecord step, IReadOnlyList<string> results, IReadOnlyList<(string Content, byte[] List)> lists, IReadOnlyList<string> builds)
    {
        if (builds.Count > 0 && db.QueryFirst("SELECT body FROM build WHERE ref=?1", static row => row.BlobOrNull(0), builds[0]) is { } wanting)
            step.Scope = BuildRecord.Parser.ParseFrom(wanting).Scope;
        var root = "";
        for (var i = 0; i < step.Inputs.Count; i++)
        {
            var input = step.Inputs[i];
            var maker = input.Result.Length == 0 ? null : db.QueryFirst(
                "SELECT s.class, s.root FROM step_result r JOIN step s ON s.seq=r.seq WHERE r.result=?1 ORDER BY r.seq LIMIT 1",
                static row => new string[] { row.String(0), row.String(1) }, input.Result);
            if (maker is not null && maker[0].Length > 0)
            {
                if (!input.Classes.Contains(maker[0]))
                    input.Classes.Insert(0, maker[0]);
                if (i == 0)
                    root = maker[1];
            }
            if (input.Result.Length > 0 && input.Classes.Count == 0)
                input.Classes.Add("result:" + input.Result);
        }
        var own = step.Operation.Length == 0 || step.ReadsClient ? "" : step.Inputs.Count == 0 ? step.Operation : ClassOf(step);
        if (step.Inputs.Count == 0)
            root = own;
        db.Execute(
            "INSERT INTO step (operation, name, kind, position, class, root, below, build, size, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            step.Operation, step.Name, step.Kind, step.Position, own, root, Below(step), builds.Count > 0 ? builds[0] : "", step.CalculateSize(), step.ToByteArray());
        var sequence = db.QueryInt64("SELECT last_insert_rowid()");
        foreach (var result in results)
            db.Execute("INSERT OR IGNORE INTO step_result (result, seq) VALUES (?1, ?2)", result, sequence);
        foreach (var build in builds)
            db.Execute("INSERT OR IGNORE INTO build_step VALUES (?1, ?2)", build, sequence);
        foreach (var (content, list) in lists)
            db.Execute("INSERT OR IGNORE INTO file_list VALUES (?1, ?2, ?3, ?4)", content, sequence, list.Length, list);
        foreach (var input in step.Inputs.Where(input => input.Content.Length > 0))
            db.Execute("UPDATE file_list SET used=?2 WHERE content=?1", input.Content, sequence);
        if (++_sinceTrim >= _limits.TrimEvery)
            TrimSteps(db);
        while (lists.Count > 0 && db.QueryInt64("SELECT COALESCE(SUM(size), 0) FROM file_list") > _limits.ListBytes)
            db.Execute("DELETE FROM file_list WHERE content IN (SELECT content FROM file_list ORDER BY used, content LIMIT 1)");
    }

    private void TrimSteps(SqliteConnection db)
    {
        _sinceTrim = 0;
        while (true)
        {
            var (count, bytes) = (db.QueryInt64("SELECT COUNT(*) FROM step"), db.QueryInt64("SELECT COALESCE(SUM(size), 0) FROM step"));
            if (count <= _limits.Steps && bytes <= _limits.StepBytes)
                break;
            var surplus = Math.Max(count - _limits.Steps, Math.Clamp(count / 16, 1, 64));
            var before = count;
            db.Execute(
                """
                DELETE FROM step WHERE seq IN (
                  SELECT seq FROM step ORDER BY
                    EXISTS (SELECT 1 FROM step_result r WHERE r.seq=step.seq AND r.pruned IS NULL), seq LIMIT ?1)
                """,
                surplus);
            db.Execute("UPDATE forgotten SET steps=steps+?1", before - db.QueryInt64("SELECT COUNT(*) FROM step"));
            db.Execute("DELETE FROM build_step WHERE seq NOT IN (SELECT seq FROM step)");
        }
    }

    /// <summary>What the first input of a step counts as.</summary>
    private static string Below(StepRecord step) => step.Inputs is [{ Classes: [var first, ..] }, ..] ? first : "";

    private static string ClassOf(StepRecord step) => Digest.Sha256(
        step.Operation + "\n" + string.Join('\n', step.Inputs.Select(input => $"{input.Selector} {(input.Content.Length > 0 ? input.Content : input.Classes.FirstOrDefault(""))}"))).ToString();

    private static List<StoredStep> Load(SqliteConnection db, IReadOnlyList<long> sequences)
    {
        var steps = new List<StoredStep>(sequences.Count);
        foreach (var sequence in sequences)
        {
            var results = db.Query(
                "SELECT result, pruned, pruned_by FROM step_result WHERE seq=?1 ORDER BY result",
                static row => new StoredResult(row.String(0), row.Int64OrNull(1) is { } time ? DateTimeOffset.FromUnixTimeMilliseconds(time) : null, row.StringOrNull(2) ?? ""),
                sequence);
            if (db.QueryFirst(
                "SELECT class, root, build, body FROM step WHERE seq=?1",
                row => new StoredStep(sequence, StepRecord.Parser.ParseFrom(row.BlobOrNull(3)), row.String(0), row.String(1), row.String(2), results), sequence) is { } step)
                steps.Add(step);
        }
        return steps;
    }
}
