namespace BuildKit.Tests.RemoteCache.Attributes;

/// <summary>The caches that have a manifest: <c>registry</c> and <c>local</c>.</summary>
internal static partial class AttributeTable
{
    private const string Sha = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    private const string Index = "oci.image.index.v1+json of oci.image.layer.v1.tar+gzip, buildkit.cacheconfig.v0";

    private static IEnumerable<AttributeRow> Registry
    {
        get
        {
            foreach (var side in Both)
            {
                var name = side + "er";
                var refused = $"failed to configure registry cache {name}: ";
                yield return new("registry", side, "ref", "-ref", "refused", $"registry cache {name} requires ref");
                yield return new("registry", side, "ref", "ref=", "refused", $"registry cache {name} requires ref");
                yield return new("registry", side, "ref", "-ref", "refused by the daemon", refused + "missing ref");
                yield return new("registry", side, "ref", "ref=", "refused by the daemon", refused + "missing ref");
                yield return new("registry", side, "ref", "ref=@/A/B", "refused", refused + "invalid reference format: repository name (A/B) must be lowercase");
                foreach (var bad in new[] { "a b", "-a", "@/a:", "@/a:v 1", "@/a@sha256:1", "dest=x" })
                    yield return new("registry", side, "ref", "ref=" + bad, "refused", refused + "invalid reference format");
                yield return new("registry", side, "ref", $"ref={new string('a', 64)}", "refused", refused + $"invalid repository name ({new string('a', 64)}), cannot specify 64-byte hexadecimal strings");
                foreach (var value in NoBool)
                    yield return new("registry", side, "registry.insecure", "registry.insecure=" + value, "refused", refused + $"failed to parse registry.insecure: strconv.ParseBool: parsing \"{value}\": invalid syntax");
                foreach (var value in True.Concat(False))
                    yield return new("registry", side, "registry.insecure", "registry.insecure=" + value, side == "export" ? "stored" : "found", side == "export" ? "h/a:latest " + Index : "the result");
                // This address is no loopback name: only the attribute allows plain HTTP. Both ways end at the same registry.
                yield return new("registry", side, "registry.insecure", "ref=0.0.0.0:$PORT/h/a,registry.insecure=true", side == "export" ? "stored" : "found", side == "export" ? "h/a:latest " + Index : "the result");
            }
            yield return new("registry", "export", "ref", "", "stored", "h/a:latest " + Index);
            yield return new("registry", "export", "ref", "ref=@/x/y/z:v1.2", "stored", "x/y/z:v1.2 " + Index);
            yield return new("registry", "import", "ref", "", "found", "the result");
            yield return new("registry", "import", "ref", "ref=@/h/a:v1", "found", "the result", Before: "ref=@/h/a:v1");
            yield return new("registry", "import", "ref", "ref=@/h/a:v1", "not found", "@/h/a:v1: not found");
            yield return new("registry", "import", "ref", "", "found", "the result", Before: "oci-mediatypes=false");
            yield return new("registry", "import", "ref", "", "found", "the result", Before: "image-manifest=true");
            // Wrong in several ways: the original's order.
            yield return new("registry", "export", "compression", "ref=A,compression=x,oci-mediatypes=x,image-manifest=x,registry.insecure=x", "refused", "failed to configure registry cache exporter: unsupported compression type x");
            yield return new("registry", "export", "ref", "ref=@/A,oci-mediatypes=x,image-manifest=x,registry.insecure=x", "refused", "failed to configure registry cache exporter: invalid reference format: repository name (A) must be lowercase");
            yield return new("registry", "export", "oci-mediatypes", "oci-mediatypes=x,image-manifest=x,registry.insecure=x", "refused", "failed to configure registry cache exporter: failed to parse oci-mediatypes: strconv.ParseBool: parsing \"x\": invalid syntax");
            yield return new("registry", "export", "image-manifest", "image-manifest=x,registry.insecure=x", "refused", "failed to configure registry cache exporter: failed to parse image-manifest: strconv.ParseBool: parsing \"x\": invalid syntax");
            yield return new("registry", "import", "ref", "ref=@/A,registry.insecure=x", "refused", "failed to configure registry cache importer: invalid reference format: repository name (A) must be lowercase");
        }
    }

    private static IEnumerable<AttributeRow> Local =>
    [
        new("local", "export", "dest", "-dest", "refused", "local cache exporter requires dest"),
        new("local", "export", "dest", "dest=", "refused", "local cache exporter requires dest"),
        new("local", "export", "dest", "-dest,compression=x", "refused by the daemon", "failed to configure local cache exporter: local cache exporter requires dest"),
        new("local", "export", "dest", "dest=,src=$DIR/c", "refused by the daemon", "failed to configure local cache exporter: local cache exporter requires dest"),
        new("local", "export", "dest", "", "stored", "$DIR/c:latest " + Index),
        new("local", "export", "dest", "dest=$DIR/x/y", "stored", "$DIR/x/y:latest " + Index),
        new("local", "export", "dest", "", "without a session", "failed to configure local cache exporter: local cache exporter/importer requires session"),
        new("local", "export", "compression", "compression=x,oci-mediatypes=x", "refused", "failed to configure local cache exporter: unsupported compression type x"),
        new("local", "export", "tag", "tag=v1", "stored", "$DIR/c:v1 " + Index),
        new("local", "export", "tag", "tag=", "stored", "$DIR/c: " + Index),
        new("local", "export", "tag", "tag=a b/ü", "stored", "$DIR/c:a b/ü " + Index),
        new("local", "export", "tag", "tag=v2", "joined", "a"),

        new("local", "import", "src", "-src", "refused", "local cache importer requires src"),
        new("local", "import", "src", "src=", "refused", "local cache importer requires src"),
        new("local", "import", "src", "-src,dest=$DIR/c", "refused", "local cache importer requires src"),
        new("local", "import", "src", $"-src,digest={Sha}", "refused by the daemon", "failed to configure local cache importer: local cache importer requires src"),
        new("local", "import", "src", "-src", "refused by the daemon", "failed to configure local cache importer: local cache importer requires explicit digest"),
        new("local", "import", "src", $"digest={Sha}", "without a session", "failed to configure local cache importer: local cache exporter/importer requires session"),
        new("local", "import", "src", "", "found", "the result"),
        new("local", "import", "src", "src=$DIR/x/y", "found", "the result", Before: "dest=$DIR/x/y"),
        new("local", "import", "src", "", "found", "left out: local cache import at $DIR/c not found due to err: could not lock $DIR/c/index.json.lock: open $DIR/c/index.json.lock: no such file or directory", Before: "nothing"),
        new("local", "import", "src", "src=$DIR", "found", "left out: local cache import at $DIR not found due to err: could not read $DIR/index.json: open $DIR/index.json: no such file or directory"),
        new("local", "import", "src", "", "found", "the result", Before: "oci-mediatypes=false"),
        new("local", "import", "src", "", "found", "the result", Before: "image-manifest=true"),
        new("local", "import", "tag", "tag=v1", "found", "the result", Before: "tag=v1"),
        new("local", "import", "tag", "tag=", "found", "the result", Before: "tag="),
        new("local", "import", "tag", "digest=$DIGEST,tag=other", "found", "the result"),
        new("local", "import", "digest", "digest=$DIGEST", "found", "the result"),
        new("local", "import", "digest", "digest=", "found", "the result"),
        new("local", "import", "digest", "", "refused by the daemon", "failed to configure local cache importer: local cache importer requires explicit digest"),
        new("local", "import", "digest", "digest=", "refused by the daemon", "failed to configure local cache importer: local cache importer requires explicit digest"),
        new("local", "import", "digest", $"digest={Sha}", "not found", $"failed to configure local cache importer: NotFound: rpc error: code = NotFound desc = content {Sha}: not found"),
        new("local", "import", "digest", "digest=latest", "refused", "failed to configure local cache importer: invalid digest \"latest\": expected sha256:<64 lower-case hex digits>"),
    ];
}
