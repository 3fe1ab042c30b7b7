using BuildKit.Daemon.Solving;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Llb;
using BuildKit.Protocol.Errors;
using BuildKit.Protocol.Grpc;
using BuildKit.Solver;
using BuildKit.Worker.Executor;
using BuildKit.Worker.Ops;
using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Daemon.Errors;

/// <summary>The error of a step on its way to a frontend, which may want to look at what the step left.</summary>
internal sealed class GatewaySolveException(Exception cause) : Exception(cause.Message, cause);

/// <summary>Turns failures into what travels: a status, the text, and details that let a client point at the place
/// in its source (spec 01 §3).</summary>
internal static class ErrorMapper
{
    /// <summary>The error as a client is told.</summary>
    public static RpcException Map(Exception exception)
    {
        var details = new List<Any>();
        var sources = new HashSet<string>(StringComparer.Ordinal);
        StatusCode? code = null;
        Protocol.Pb.Definition? definition = null;
        for (Exception? e = exception; e is not null; e = e.InnerException)
        {
            switch (e)
            {
                case RpcException rpc:
                    code ??= rpc.Code;
                    details.AddRange(rpc.Details);
                    break;
                case JobNotFoundException:
                    code ??= StatusCode.NotFound;
                    break;
                case UnsupportedFrontendCapException cap:
                    code ??= StatusCode.Unimplemented;
                    details.Add(TypedErrors.Encode(new Protocol.ErrDefs.FrontendCap { Name = cap.Name }));
                    break;
                case UnsupportedSubrequestException subrequest:
                    details.Add(TypedErrors.Encode(new Protocol.ErrDefs.Subrequest { Name = subrequest.Name }));
                    break;
                case FrontendSourceException located:
                    foreach (var source in located.Sources)
                        AddSource(details, sources, source.Info, source.Ranges.Select(Frontends.SourceRanges.ToMessage));
                    break;
                case SourcedException sourced:
                    definition ??= sourced.Definition;
                    break;
                case VertexException vertex:
                    AddVertex(details, sources, vertex, definition);
                    break;
                case GatewaySolveException:
                    AddSolve(details, e);
                    break;
                case ExitException exit:
                    details.Add(TypedErrors.Encode(new Protocol.Gateway.ExitMessage { Code = (uint)exit.Code }));
                    break;
                case OperationCanceledException:
                    code ??= StatusCode.Cancelled;
                    break;
                case TimeoutException:
                    code ??= StatusCode.DeadlineExceeded;
                    break;
                case Linux.LinuxException { Errno: Linux.Errno.ENOSPC or Linux.Errno.ENOMEM }:
                    code ??= StatusCode.ResourceExhausted;
                    break;
            }
        }
        var text = exception is OperationCanceledException ? "context canceled" : exception.Message;
        return new RpcException(code ?? StatusCode.Unknown, text, details, exception);
    }

    private static void AddVertex(List<Any> details, HashSet<string> sources, VertexException vertex, Protocol.Pb.Definition? definition)
    {
        var sent = vertex.Operation is LlbVertex llb ? llb.SentDigest : vertex.Vertex;
        if (definition?.Source is { } source && source.Locations.TryGetValue(sent.ToString(), out var locations))
        {
            foreach (var location in locations.Locations_)
                if (location.SourceIndex >= 0 && location.SourceIndex < source.Infos.Count)
                    AddSource(details, sources, source.Infos[location.SourceIndex], location.Ranges);
        }
        details.Add(TypedErrors.Encode(new Protocol.ErrDefs.Vertex { Digest = sent.ToString() }));
    }

    /// <summary>Which step failed, on what, and by which ids a frontend can have what it left (spec 01 §6.2).</summary>
    private static void AddSolve(List<Any> details, Exception failure)
    {
        var solve = new Protocol.ErrDefs.Solve();
        for (var e = failure.InnerException; e is not null; e = e.InnerException)
        {
            switch (e)
            {
                case VertexException { Operation: LlbVertex llb } vertex when solve.Op is null:
                    solve.Op = llb.Op;
                    solve.Description.Add(vertex.Description.ToDictionary());
                    break;
                case ProcessException process:
                    solve.InputIDs.AddRange(process.Inputs.Select(result => result?.Id ?? ""));
                    solve.MountIDs.AddRange(process.Mounts.Select(result => result?.Id ?? ""));
                    break;
                case FileActionException action when solve.SubjectCase == Protocol.ErrDefs.Solve.SubjectOneofCase.None:
                    solve.File = new Protocol.ErrDefs.FileAction { Index = action.Index };
                    break;
                case SlowCacheException slow:
                    solve.InputIDs.Add(slow.Result?.Id ?? "");
                    solve.Cache = new Protocol.ErrDefs.ContentCache { Index = slow.Input };
                    break;
            }
        }
        if (solve.Op is not null)
            details.Add(TypedErrors.Encode(solve));
    }

    /// <summary>The same lines of a file are named once, however many layers of the error know them.</summary>
    private static void AddSource(List<Any> details, HashSet<string> sources, Protocol.Pb.SourceInfo? info, IEnumerable<Protocol.Pb.Range> ranges)
    {
        var source = new Protocol.ErrDefs.Source { Info = info, Ranges = { ranges } };
        if (sources.Add($"{info?.Filename}\0{source.Ranges}"))
            details.Add(TypedErrors.Encode(source));
    }
}
