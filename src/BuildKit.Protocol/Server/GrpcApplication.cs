using System.Collections.Frozen;
using BuildKit.Protocol.Grpc;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http.Features;

namespace BuildKit.Protocol.Server;

/// <summary>Hands each HTTP/2 request to the handler its path names.</summary>
internal sealed class GrpcApplication : IHttpApplication<ServerCall>
{
    private readonly FrozenDictionary<string, GrpcHandler> _handlers;
    private readonly FrozenSet<string> _services;
    private readonly GrpcServerOptions _options;

    public GrpcApplication(IEnumerable<GrpcService> services, GrpcServerOptions options)
    {
        _options = options;
        _handlers = services.SelectMany(s => s.Handlers).ToFrozenDictionary(StringComparer.Ordinal);
        _services = _handlers.Keys.Select(name => name[1..name.LastIndexOf('/')]).ToFrozenSet(StringComparer.Ordinal);
    }

    public ServerCall CreateContext(IFeatureCollection contextFeatures) => new(contextFeatures, _options);

    public async Task ProcessRequestAsync(ServerCall context)
    {
        if (!string.Equals(context.HttpMethod, "POST", StringComparison.Ordinal)
            || !context.ContentType.StartsWith("application/grpc", StringComparison.Ordinal))
        {
            context.RefuseAsNotGrpc();
            return;
        }

        if (!_handlers.TryGetValue(context.Method, out var handler))
        {
            context.End(Unknown(context.Method));
            return;
        }

        try
        {
            await handler.RunAsync(context);
        }
        catch (Exception e)
        {
            // Whatever a handler throws is the call's outcome; the mapper decides how it reads.
            context.End(e);
            return;
        }

        context.End(null);
    }

    public void DisposeContext(ServerCall context, Exception? exception) => context.Dispose();

    private RpcException Unknown(string method)
    {
        var slash = method.LastIndexOf('/');
        if (slash <= 0)
            return new RpcException(StatusCode.Unimplemented, $"malformed method name: \"{method}\"");
        var service = method[1..slash];
        return new RpcException(
            StatusCode.Unimplemented,
            _services.Contains(service)
                ? $"unknown method {method[(slash + 1)..]} for service {service}"
                : $"unknown service {service}");
    }
}
