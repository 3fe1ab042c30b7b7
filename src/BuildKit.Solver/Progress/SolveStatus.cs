namespace BuildKit.Solver;

/// <summary>What happened in a build since the reader was told last. Vertices are sorted by start, statuses and logs
/// by time.</summary>
public sealed record SolveStatus(
    IReadOnlyList<VertexStatusUpdate> Vertices, IReadOnlyList<ProgressStatus> Statuses,
    IReadOnlyList<ProgressLog> Logs, IReadOnlyList<ProgressWarning> Warnings);
