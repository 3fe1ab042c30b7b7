using System.Globalization;
using System.Text.Json;
using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using BuildKit.Tests.Session;

namespace BuildKit.IntegrationTests.Session;

/// <summary>The cases of the golden set <c>filesync</c> whose client is not root.</summary>
public sealed class FileSyncUserGoldenTests
{
    public static TheoryData<string> WalkCases() => Golden.List(Golden.Path("filesync", "walk.json")).Where(item => item.TryGetProperty("as_uid", out _)).Names();

    public static TheoryData<string> ExportCases() => Golden.List(Golden.Path("filesync", "export.json")).Where(item => item.TryGetProperty("client_uid", out _)).Names();

    [RequiresGoldenTheory("root", "setpriv")]
    [MemberData(nameof(WalkCases))]
    public async Task A_user_sends_a_directory_as_the_reference_sends_it(string name)
    {
        var item = FileSyncProgram.Case("walk.json", name);
        using var temp = new TempDirectory();
        LinuxFile.Chmod(temp.Path, 0x1ED);
        var root = temp.Sub("root");
        GoldenTree.Make(root, item.GetProperty("tree"));
        await RunAsync(item.GetProperty("as_uid"), "walk", name, root);
    }

    [RequiresGoldenTheory("root", "setpriv")]
    [MemberData(nameof(ExportCases))]
    public async Task A_user_gets_a_directory_as_the_reference_writes_it(string name)
    {
        var item = FileSyncProgram.Case("export.json", name);
        using var temp = new TempDirectory();
        LinuxFile.Chmod(temp.Path, 0x1ED);
        var (root, destination) = (temp.Sub("root"), temp.Sub("destination"));
        GoldenTree.Make(root, item.GetProperty("result_tree"));
        if (item.TryGetProperty("existing", out var existing))
            GoldenTree.Make(destination, existing);
        var user = item.GetProperty("client_uid").GetUInt32();
        LinuxFile.Lchown(destination, user, user);
        await RunAsync(item.GetProperty("client_uid"), "export", name, root, destination);
    }

    private static async Task RunAsync(JsonElement user, params string[] arguments)
    {
        var id = user.GetUInt32().ToString(CultureInfo.InvariantCulture);
        var assembly = typeof(FileSyncProgram).Assembly.Location;
        (await Programs.RunAsync(
            "setpriv", ["--reuid=" + id, "--regid=" + id, "--clear-groups", "dotnet", "exec", assembly, FileSyncProgram.Name, .. arguments],
            new Dictionary<string, string?>(StringComparer.Ordinal) { ["DOTNET_EnableDiagnostics"] = "0" })).Succeeded();
    }
}
