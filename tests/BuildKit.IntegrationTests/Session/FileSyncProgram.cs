using System.Text.Json;
using BuildKit.Tests.Session;

namespace BuildKit.IntegrationTests.Session;

/// <summary>The process that runs one case of the golden set <c>filesync</c> as another user.</summary>
internal static class FileSyncProgram
{
    internal const string Name = "filesync";

    /// <summary>Runs <c>walk NAME ROOT</c> or <c>export NAME ROOT DESTINATION</c>; 0 when the case ends as recorded.</summary>
    internal static async Task<int> RunAsync(string[] arguments)
    {
        try
        {
            if (arguments is ["walk", var walk, var root])
                await FileSyncCases.WalkAsync(Case("walk.json", walk), root);
            else if (arguments is ["export", var export, var source, var destination])
                await FileSyncCases.ExportAsync(Case("export.json", export), source, destination);
            else
                throw new ArgumentException("usage: filesync walk NAME ROOT | filesync export NAME ROOT DESTINATION");
            return 0;
        }
        catch (Exception e)
        {
            await Console.Error.WriteLineAsync(e.ToString());
            return 1;
        }
    }

    internal static JsonElement Case(string file, string name) =>
        Golden.List(Golden.Path("filesync", file)).Single(item => item.GetProperty("name").GetString() == name);
}
