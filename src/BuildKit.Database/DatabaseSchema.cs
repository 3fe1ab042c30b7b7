namespace BuildKit.Database;

/// <summary>
/// The tables of a database as the steps that made them: step <c>i</c> lifts version <c>i</c> to <c>i+1</c>.
/// Steps are only ever appended. The version of a file is kept in its <c>schema_version</c> table.
/// </summary>
public sealed record DatabaseSchema(params IReadOnlyList<string> Steps);
