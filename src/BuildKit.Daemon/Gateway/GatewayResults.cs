using BuildKit.Daemon.Solving;
using BuildKit.Protocol.Gateway;
using BuildKit.Protocol.Grpc;
using BuildKit.Worker.Exporters;
using Google.Protobuf;

namespace BuildKit.Daemon.Gateway;

/// <summary>Results as frontends outside the daemon are told of them (spec 01 §6.2 "Reply format").</summary>
internal static class GatewayResults
{
    /// <summary>The answer to a request to solve.</summary>
    /// <exception cref="RpcException">The frontend is too old to take several results.</exception>
    public static SolveResponse Answer(SolveRequest request, BuildResult result, Func<LazyResult?, string> nameOf)
    {
        var answer = new Result();
        foreach (var (key, value) in result.Metadata)
            answer.Metadata.Add(key, ByteString.CopyFrom(value));
        foreach (var (key, attestations) in result.Attestations)
            answer.Attestations.Add(key, new Attestations { Attestation = { attestations.Select(ToMessage) } });
        if (result.IsKeyed)
        {
            if (!request.AllowResultReturn)
                throw new RpcException(StatusCode.Unknown, "solve did not return default result");
            if (request.AllowResultArrayRef)
                answer.Refs = new RefMap { Refs = { result.Refs.ToDictionary(pair => pair.Key, pair => Reference(pair.Value), StringComparer.Ordinal) } };
            else
                answer.RefsDeprecated = new RefMapDeprecated { Refs = { result.Refs.ToDictionary(pair => pair.Key, pair => nameOf(pair.Value), StringComparer.Ordinal) } };
            return new SolveResponse { Result = answer };
        }
        var reference = Reference(result.Ref);
        if (request.AllowResultArrayRef)
            answer.Ref = reference;
        else
            answer.RefDeprecated = reference.Id;
        return new SolveResponse { Result = answer, Ref = request.AllowResultReturn ? "" : reference.Id };

        Ref Reference(LazyResult? lazy) => new() { Id = nameOf(lazy), Def = lazy?.Definition };

        Attestation ToMessage(BuildAttestation attestation)
        {
            var message = new Attestation
            {
                Kind = attestation.IsBundle ? AttestationKind.Bundle : AttestationKind.InToto,
                Path = attestation.Path,
                InTotoPredicateType = attestation.PredicateType,
                Ref = attestation.Ref is null ? null : Reference(attestation.Ref),
            };
            foreach (var (name, value) in attestation.Metadata)
                message.Metadata.Add(name, ByteString.CopyFrom(value));
            message.InTotoSubjects.AddRange(attestation.Subjects.Select(subject => new InTotoSubject
            {
                Kind = subject.IsSelf ? InTotoSubjectKind.Self : InTotoSubjectKind.Raw,
                Name = subject.Name,
                Digest = { subject.Digests },
            }));
            return message;
        }
    }

    /// <summary>What a frontend returned.</summary>
    /// <param name="message">Its message. A result without any reference is an empty one.</param>
    /// <param name="find">The result of an id; null for the empty id. Throws for an unknown one.</param>
    public static BuildResult FromMessage(Result message, Func<string, LazyResult?> find)
    {
        var result = new BuildResult();
        switch (message.ResultCase)
        {
            case Result.ResultOneofCase.Ref:
                result.Ref = find(message.Ref.Id);
                break;
            case Result.ResultOneofCase.RefDeprecated:
                result.Ref = find(message.RefDeprecated);
                break;
            case Result.ResultOneofCase.Refs:
                result.IsKeyed = true;
                foreach (var (key, reference) in message.Refs.Refs)
                    result.Refs.Add(key, find(reference.Id));
                break;
            case Result.ResultOneofCase.RefsDeprecated:
                result.IsKeyed = true;
                foreach (var (key, id) in message.RefsDeprecated.Refs)
                    result.Refs.Add(key, find(id));
                break;
        }
        foreach (var (key, value) in message.Metadata)
            result.Metadata.Add(key, value.ToByteArray());
        foreach (var (key, attestations) in message.Attestations)
        {
            result.Attestations.Add(key, [.. attestations.Attestation.Select(attestation => new BuildAttestation(
                attestation.Kind == AttestationKind.Bundle, find(attestation.Ref?.Id ?? ""), attestation.Path, attestation.InTotoPredicateType,
                attestation.Metadata.ToDictionary(pair => pair.Key, pair => pair.Value.ToByteArray(), StringComparer.Ordinal))
            {
                Subjects = [.. attestation.InTotoSubjects.Select(subject => new ExportSubject(
                    subject.Kind == InTotoSubjectKind.Self, subject.Name, [.. subject.Digest]))],
            })]);
        }
        return result;
    }
}
