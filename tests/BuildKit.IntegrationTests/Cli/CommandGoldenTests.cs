using System.Text;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.Cli;

/// <summary>What <c>buildctl</c> prints, asks and ends with, against a daemon that gives recorded answers: the golden set <c>progress</c>.</summary>
public sealed class CommandGoldenTests
{
    public static TheoryData<string> Commands() => Golden.Index("progress", "cases", "command").Names();

    public static TheoryData<string> Errors() => Golden.Index("progress", "cases", "error").Names();

    [RequiresGoldenTheory("buildctl")]
    [MemberData(nameof(Commands))]
    public async Task A_command_prints_what_the_reference_prints(string name)
    {
        var golden = Golden.Json("progress", "command", name, "case.json");
        await using var daemon = await ScriptedDaemon.StartAsync(golden);
        var environment = golden.GetProperty("env").EnumerateObject().ToDictionary(v => v.Name, v => v.Value.GetString(), StringComparer.Ordinal);
        var result = await new Buildctl(daemon.Address, environment).RunAsync(golden.GetProperty("args").EnumerateArray().Select(a => a.GetString()!));
        AssertOutput(result, "command", name, golden.GetProperty("exitCode").GetInt32());
        var requests = golden.GetProperty("requests");
        var expected = requests.ValueKind == System.Text.Json.JsonValueKind.Array
            ? requests.EnumerateArray().Select(r => (Method: r.GetProperty("method").GetString()!, Json: r.GetProperty("request").GetRawText())).Select(r => (r.Method, ScriptedDaemon.Parse(r.Method, r.Json)))
            : [];
        Assert.Equal(expected, daemon.Requests);
    }

    [RequiresGoldenTheory("buildctl")]
    [MemberData(nameof(Errors))]
    public async Task A_failed_build_prints_what_the_reference_prints(string name)
    {
        var golden = Golden.Json("progress", "error", name, "case.json");
        await using var daemon = await ScriptedDaemon.StartAsync(golden);
        var result = await new Buildctl(daemon.Address).RunAsync(["build", "--progress", "quiet", "--frontend", "gateway.test"]);
        AssertOutput(result, "error", name, golden.GetProperty("exitCode").GetInt32());
    }

    private static void AssertOutput(ProgramResult result, string kind, string name, int exitCode)
    {
        Assert.Equal(Recorded("stderr.txt"), result.Errors);
        Assert.Equal(Recorded("stdout.txt"), result.Text);
        Assert.Equal(exitCode, result.ExitCode);

        string Recorded(string file) => File.Exists(Golden.Path("progress", kind, name, file)) ? Encoding.UTF8.GetString(File.ReadAllBytes(Golden.Path("progress", kind, name, file))) : "";
    }
}
