using BuildKit.Oci;

namespace BuildKit.Worker.Exporters.Attestations;

/// <summary>What a statement is about, as it is written.</summary>
internal sealed record StatementSubject(string Name, IReadOnlyList<Digest> Digests);

/// <summary>Makes in-toto statements (spec 07 §9.5 step 6).</summary>
internal static class InTotoStatements
{
    private const string StatementType = "https://in-toto.io/Statement/v0.1";
    private const string NoName = "_";

    /// <summary>The statement of an attestation.</summary>
    /// <param name="attestation">The attestation.</param>
    /// <param name="defaults">What is being exported.</param>
    /// <param name="indented">Whether the JSON is indented; in images it is not.</param>
    public static byte[] Make(ReadAttestation attestation, IReadOnlyList<StatementSubject> defaults, bool indented)
    {
        var writer = new CanonicalJsonWriter(indented);
        writer.WriteStartObject();
        writer.WriteName("_type");
        writer.WriteString(StatementType);
        writer.WriteName("predicateType");
        writer.WriteString(attestation.Source.PredicateType);
        writer.WriteName("subject");
        writer.WriteStartArray();
        foreach (var subject in Subjects(attestation.Source.Subjects, defaults))
            WriteSubject(writer, subject);
        writer.WriteEndArray();
        writer.WriteName("predicate");
        if (attestation.Predicate.Length == 0)
            writer.WriteNull();
        else
            writer.WriteRaw(attestation.Predicate);
        writer.WriteEndObject();
        return writer.ToArray();
    }

    private static IEnumerable<StatementSubject> Subjects(IReadOnlyList<ExportSubject> wanted, IReadOnlyList<StatementSubject> defaults)
    {
        foreach (var subject in wanted.Count == 0 ? [new ExportSubject(IsSelf: true, "", [])] : wanted)
        {
            var name = subject.Name.Length == 0 ? NoName : subject.Name;
            if (!subject.IsSelf)
            {
                yield return new StatementSubject(name, [.. subject.Digests.Select(Digest.Unchecked)]);
                continue;
            }
            foreach (var one in defaults)
            {
                yield return one;
                if (name != NoName)
                    yield return one with { Name = name };
            }
        }
    }

    private static void WriteSubject(CanonicalJsonWriter writer, StatementSubject subject)
    {
        writer.WriteStartObject();
        writer.WriteName("name");
        writer.WriteString(subject.Name);
        writer.WriteName("digest");
        writer.WriteStartObject();
        foreach (var digest in subject.Digests.OrderBy(digest => digest.Algorithm, StringComparer.Ordinal))
        {
            writer.WriteName(digest.Algorithm);
            writer.WriteString(digest.Hex);
        }
        writer.WriteEndObject();
        writer.WriteEndObject();
    }
}
