using BuildKit.Cli;
using BuildKit.Cli.Commands;
using BuildKit.Cli.Values;
using BuildKit.Client;

namespace BuildKit.Tests.Cli;

public sealed class ValueTests
{
    [Theory]
    [InlineData("", "EOF")]
    [InlineData("type=image,\"name=a", "parse error on line 1, column 13: extraneous or missing \" in quoted-field")]
    [InlineData("type=image,na\"me=a", "parse error on line 1, column 14: bare \" in non-quoted-field")]
    [InlineData("\"a\"b", "parse error on line 1, column 3: extraneous or missing \" in quoted-field")]
    [InlineData("type=image,name", "invalid value name")]
    public void Broken_values_are_refused_with_the_reference_s_words(string text, string error) =>
        Assert.Equal(error, Assert.Throws<FormatException>(() => CsvRecord.ParsePairs(text)).Message);

    [Fact]
    public void Keys_of_a_value_lose_their_case_and_quotes_protect_commas()
    {
        var pairs = CsvRecord.ParsePairs("Type=image,\"Name=a,B\"\n");
        Assert.Equal("image", pairs["type"]);
        Assert.Equal("a,B", pairs["name"]);
    }

    [Theory]
    [InlineData("name=x", "--output requires type=<type>")]
    [InlineData("type=local,output=x", "output=x not supported for --output, you meant dest=x?")]
    [InlineData("type=local", "invalid output option: output: output directory is required for local exporter")]
    [InlineData("type=oci,tar=false", "invalid output option: output: output directory is required for oci exporter")]
    [InlineData("type=tar", "invalid output option: output: output file is required for tar exporter. refusing to write to console")]
    [InlineData("type=tar,dest=/", "invalid output option: output: destination file is a directory")]
    [InlineData("type=image,dest=x", "invalid output option: output: output x is not supported by image exporter")]
    public void Outputs_that_cannot_be_are_refused(string text, string error) =>
        Assert.Equal(error, Assert.Throws<CommandException>(() => OutputValue.Parse(text, isConsole: true, static () => Stream.Null)).Message);

    [Theory]
    [InlineData("foo", "invalid field 'foo' must be a key=value pair")]
    [InlineData("typ=b", "unexpected key 'typ' in 'typ=b'")]
    [InlineData("id=a,type=zzz", "unsupported secret type \"zzz\"")]
    public void Secrets_that_cannot_be_are_refused(string text, string error) =>
        Assert.Equal(error, Assert.Throws<CommandException>(() => SecretValue.Parse(text)).Message);

    private const string LegacyExport = "--export-cache <ref> is deprecated. Please use --export-cache type=registry,ref=<ref>,<opt>=<optval>[,<opt>=<optval>] instead";
    private const string LegacyImport = "--import-cache <ref> is deprecated. Please use --import-cache type=registry,ref=<ref>,<opt>=<optval>[,<opt>=<optval>] instead.";

    [Theory]
    [InlineData("dest=x", "registry mode=min ref=dest=x", "registry ref=dest=x", true)]
    [InlineData("docker.io/a/b:c", "registry mode=min ref=docker.io/a/b:c", "registry ref=docker.io/a/b:c", true)]
    [InlineData("", "registry mode=min ref=", "registry ref=", true)]
    [InlineData("TYPE=local,dest=x", "registry mode=min ref=TYPE=local,dest=x", "registry ref=TYPE=local,dest=x", true)]
    [InlineData("type=registry,ref=a", "registry mode=min ref=a", "registry ref=a", false)]
    [InlineData("ref=a,type=registry", "registry mode=min ref=a", "registry ref=a", false)]
    [InlineData("type=registry,ref=a,mode=max", "registry mode=max ref=a", "registry mode=max ref=a", false)]
    [InlineData("type=registry,REF=a,Mode=MAX", "registry mode=MAX ref=a", "registry mode=MAX ref=a", false)]
    [InlineData("type=registry,mode=,ref=a", "registry mode= ref=a", "registry mode= ref=a", false)]
    [InlineData("type=a,type=b,x=1,x=2", "b mode=min x=2", "b x=2", false)]
    [InlineData("type=local,dest=a=b", "local dest=a=b mode=min", "local dest=a=b", false)]
    [InlineData("type=local,\"dest=a,b\"", "local dest=a,b mode=min", "local dest=a,b", false)]
    [InlineData("type=local, dest=a", "local  dest=a mode=min", "local  dest=a", false)]
    public void A_cache_is_a_type_with_attributes_or_a_reference(string text, string export, string import, bool isDeprecated)
    {
        var warnings = new List<string>();
        Assert.Equal(export, Shown(CacheValue.ParseExport(text, static _ => null, warnings.Add)));
        Assert.Equal(import, Shown(CacheValue.ParseImport(text, static _ => null, warnings.Add)));
        Assert.Equal(isDeprecated ? [LegacyExport, LegacyImport] : [], warnings);
    }

    [Theory]
    [InlineData("type=", "--$ requires type=<type>")]
    [InlineData("type=a,type=", "--$ requires type=<type>")]
    [InlineData("xtype=a", "--$ requires type=<type>")]
    [InlineData("type=registry,ref", "invalid value ref")]
    [InlineData("type=registry,", "invalid value ")]
    [InlineData("type=local,\"dest=a", "parse error on line 1, column 13: extraneous or missing \" in quoted-field")]
    public void A_cache_that_cannot_be_read_is_refused(string text, string error)
    {
        Assert.Equal(error.Replace("$", "export-cache", StringComparison.Ordinal), Assert.ThrowsAny<Exception>(() => CacheValue.ParseExport(text, static _ => null, static _ => { })).Message);
        Assert.Equal(error.Replace("$", "import-cache", StringComparison.Ordinal), Assert.ThrowsAny<Exception>(() => CacheValue.ParseImport(text, static _ => null, static _ => { })).Message);
    }

    private static string Shown(CacheRequest cache) => string.Join(' ', cache.Attributes.Select(a => $"{a.Key}={a.Value}").Order(StringComparer.Ordinal).Prepend(cache.Type));

    [Theory]
    [InlineData("", "CACHE=http://c/,TOKEN=t", "url=http://c/ token=t")]
    [InlineData("", "RESULTS=http://r/,TOKEN=t", "url=http://r/ token=t")]
    [InlineData("", "CACHE=http://c/,RESULTS=http://r/,TOKEN=t", "url=http://c/ token=t")]
    [InlineData("", "CACHE=http://c/,RESULTS=http://r/,V2=True,TOKEN=t", "url=http://c/ url_v2=http://r/ token=t")]
    [InlineData("", "RESULTS=http://r/,V2=1,TOKEN=t", "url=http://r/ url_v2=http://r/ token=t")]
    [InlineData("", "RESULTS=http://r/,V2=maybe,TOKEN=t", "url=http://r/ token=t")]
    [InlineData(",version=1", "CACHE=http://c/,RESULTS=http://r/,V2=true,TOKEN=t", "version=1 url=http://c/ token=t")]
    [InlineData(",version=2", "CACHE=http://c/,RESULTS=http://r/,TOKEN=t", "version=2 url=http://c/ url_v2=http://r/ token=t")]
    [InlineData(",url=http://u/,url_v2=http://v/,token=mine", "CACHE=http://c/,RESULTS=http://r/,V2=true,TOKEN=t", "url=http://u/ url_v2=http://v/ token=mine")]
    public void A_gha_cache_takes_what_is_not_given_from_the_job(string given, string job, string attributes)
    {
        var cache = CacheValue.ParseImport("type=gha" + given, Job(job), static _ => { });
        Assert.Equal("gha", cache.Type);
        Assert.Equal(attributes.Split(' ').Order(StringComparer.Ordinal), cache.Attributes.Select(a => $"{a.Key}={a.Value}").Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("", "TOKEN=t", "cache with type gha requires url parameter to be set")]
    [InlineData(",token=mine", "", "cache with type gha requires url parameter to be set")]
    [InlineData("", "CACHE=http://c/", "cache with type gha requires token parameter or $ACTIONS_RUNTIME_TOKEN")]
    public void A_gha_cache_outside_a_job_is_refused(string given, string job, string error) =>
        Assert.Equal(error, Assert.Throws<CommandException>(() => CacheValue.ParseExport("type=gha" + given, Job(job), static _ => { })).Message);

    private static Func<string, string?> Job(string variables)
    {
        var names = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CACHE"] = "ACTIONS_CACHE_URL",
            ["RESULTS"] = "ACTIONS_RESULTS_URL",
            ["V2"] = "ACTIONS_CACHE_SERVICE_V2",
            ["TOKEN"] = "ACTIONS_RUNTIME_TOKEN",
        };
        var values = variables.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(v => v.Split('=', 2)).ToDictionary(v => names[v[0]], v => v[1], StringComparer.Ordinal);
        return name => values.GetValueOrDefault(name);
    }

    [Theory]
    [InlineData("docker-container://c?context=x", "docker --context=x exec -i c buildctl dial-stdio")]
    [InlineData("kube-pod://p", "kubectl --context= --namespace= exec --container= -i p -- buildctl dial-stdio")]
    [InlineData("ssh://me@host:22/run/b.sock", "ssh -l me -p 22 -- host buildctl --addr unix:///run/b.sock dial-stdio")]
    [InlineData("nerdctl-container://c?namespace=n", "nerdctl exec --namespace n -i c buildctl dial-stdio")]
    public void Helper_commands_follow_from_the_address(string address, string command) =>
        Assert.Equal(command, string.Join(' ', HelperCommand.For(DaemonAddress.Parse(address))!));

    [Fact]
    public void Metadata_embeds_only_objects_with_members()
    {
        var response = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["image.name"] = "abcd",
            ["b"] = Convert.ToBase64String("{\"z\":1,\"a\":\"<\"}"u8),
            ["a"] = Convert.ToBase64String("{}"u8),
        };
        Assert.Equal(
            "{\n  \"a\": \"e30=\",\n  \"b\": {\n    \"z\": 1,\n    \"a\": \"\\u003c\"\n  },\n  \"image.name\": \"abcd\"\n}",
            System.Text.Encoding.UTF8.GetString(MetadataFile.Format(response)));
    }
}
