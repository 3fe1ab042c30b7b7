using System.Net;
using BuildKit.Llb;
using BuildKit.Protocol.Pb;

namespace BuildKit.Examples.Llb;

/// <summary>A step with everything around it: a cache directory, memory, a secret, limits, a host name; its result is a mount of its own.</summary>
internal static class Mounts
{
    public static State Of(State image)
    {
        const string script = """
            set -e
            echo built >> /cache/log
            tail -n 1 /cache/log > /out/log
            ulimit -n > /out/limit
            grep -c database.internal /etc/hosts > /out/hosts
            test -z "$TOKEN" && echo none > /out/token || echo "${#TOKEN} characters" > /out/token
            echo scratch > /memory/file
            """;
        var step = image
            .Hostname("builder")
            .AddExtraHost("database.internal", IPAddress.Parse("10.1.2.3"))
            .AddUlimit("nofile", 512, 1024)
            .Run(new RunOptions
            {
                Args = ["/bin/sh", "-c", script],
                Mounts = [RunMount.Cache("/cache", "example-cache", CacheSharingOpt.Locked), RunMount.Tmpfs("/memory", 1 << 20)],
                Secrets = [RunSecret.Variable("TOKEN", "token") with { Optional = true }],
                ReadOnlyRoot = true,
            });
        // What the step wrote to /out is a file system of its own; the rest is forgotten.
        return step.AddMount("/out", State.Scratch);
    }
}
