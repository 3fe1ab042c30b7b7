using BuildKit.CommandLine;

namespace BuildKit.Cli.Commands;

/// <summary>Flags of <c>buildctl build</c> (spec 08 §1.3) and those of its short form.</summary>
internal static class BuildFlags
{
    public static IReadOnlyList<Flag> Create() =>
    [
        new("output", FlagKind.StringList, "What to make of the result, e.g. --output type=image,name=docker.io/username/image,push=true") { Aliases = ["o"] },
        new("progress", FlagKind.String, "How progress is shown (auto, plain, tty, rawjson). Use plain to see all container output") { Default = "auto" },
        new("trace", FlagKind.String, "File to append status messages to. Defaults to none."),
        new("local", FlagKind.StringList, "Local directory the build may read, as name=path"),
        new("oci-layout", FlagKind.StringList, "Local OCI layout the build may read, as name=path"),
        new("frontend", FlagKind.String, "Frontend that makes the build"),
        new("opt", FlagKind.StringList, "Options of the frontend, e.g. --opt target=foo --opt build-arg:foo=bar"),
        new("no-cache", FlagKind.Bool, "Use the cache for no vertex"),
        new("explain-cache", FlagKind.Bool, "Say afterwards why each executed step was not taken from the cache"),
        new("export-cache", FlagKind.StringList, "Cache to write, e.g. --export-cache type=registry,ref=example.com/foo/bar, or --export-cache type=local,dest=path/to/dir"),
        new("import-cache", FlagKind.StringList, "Cache to use, e.g. --import-cache type=registry,ref=example.com/foo/bar, or --import-cache type=local,src=path/to/dir"),
        new("secret", FlagKind.StringList, "Secret the build may read. Format id=secretname,src=filepath"),
        new("allow", FlagKind.StringList, "Entitlement the build asks for, e.g. network.host, security.insecure"),
        new("ssh", FlagKind.StringList, "SSH agent or keys the build may use. Format default|<id>[=<socket>|<key>[,<key>]]"),
        new("metadata-file", FlagKind.String, "File for what the exporters answer (e.g. image digest), as JSON"),
        new("source-policy-file", FlagKind.String, "File with rules for sources, as JSON"),
        new("ref-file", FlagKind.String, "File for the build ref"),
        new("registry-auth-tlscontext", FlagKind.StringList, "TLS of a registry's token server, e.g. --registry-auth-tlscontext host=https://myserver:2376,insecure=false,ca=/path/to/my/ca.crt,cert=/path/to/my/cert.crt,key=/path/to/my/key.crt"),
        new("debug-json-cache-metrics", FlagKind.String, "Where to write cache metrics as JSON: a file, 'stdout' or 'stderr'"),
        new("file", FlagKind.String, "Short form: the Dockerfile; default is PATH/Dockerfile") { Aliases = ["f"] },
        new("tag", FlagKind.StringList, "Short form: make an image of this name") { Aliases = ["t"] },
        new("push", FlagKind.Bool, "Short form: push the image"),
    ];
}
