using BuildKit.Protocol.Pb;
using BuildKit.Worker.Executor;

namespace BuildKit.Worker.Ops.Exec;

/// <summary>What the wire says of a container's network and privileges, as the executor takes it. A value this version does
/// not know is the default, the most confined one.</summary>
public static class ContainerModes
{
    /// <summary>The network a step or a gateway's container asks for.</summary>
    public static NetworkMode ToNetwork(this NetMode mode) => mode switch
    {
        NetMode.Host => NetworkMode.Host,
        NetMode.None => NetworkMode.None,
        _ => NetworkMode.Default,
    };

    /// <summary>The privileges a step or a gateway's process asks for.</summary>
    public static Executor.SecurityMode ToSecurity(this Protocol.Pb.SecurityMode mode) =>
        mode == Protocol.Pb.SecurityMode.Insecure ? Executor.SecurityMode.Insecure : Executor.SecurityMode.Sandbox;
}
