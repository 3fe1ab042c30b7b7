using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Trace;

namespace BuildKit.Protocol.Services;

/// <summary>Receives spans (spec 01 §1.7).</summary>
public static class TraceServiceMethods
{
    /// <summary>Package and service name on the wire.</summary>
    public const string ServiceName = "opentelemetry.proto.collector.trace.v1.TraceService";

    /// <summary><c>/opentelemetry.proto.collector.trace.v1.TraceService/Export</c>.</summary>
    public static Method<ExportTraceServiceRequest, ExportTraceServiceResponse> Export { get; } =
        new(MethodKind.Unary, ServiceName, "Export", ExportTraceServiceRequest.Parser, ExportTraceServiceResponse.Parser);
}
