using System.Text;
using System.Text.Json;
using BuildKit.Cli.Text;
using BuildKit.Protocol.Grpc;
using BuildKit.Tests.Support;
using RpcStatus = BuildKit.Protocol.Rpc.Status;

namespace BuildKit.Tests.Cli;

/// <summary>Excerpts of source files before the error line, byte for byte.</summary>
public sealed class SnippetGoldenTests
{
    public static TheoryData<string> Errors() => Golden.Index("progress", "cases", "error").Names();

    [GoldenTheory]
    [MemberData(nameof(Errors))]
    public void An_error_shows_its_sources_like_the_reference(string name)
    {
        using var description = JsonDocument.Parse(File.ReadAllBytes(Golden.Path("progress", "error", name, "case.json")));
        var answer = GrpcStatus.FromStatus(RpcStatus.Parser.ParseFrom(description.RootElement.GetProperty("statusBase64").GetBytesFromBase64()));
        var output = new MemoryStream();
        SourceSnippets.Write(answer, output);
        output.Write(Encoding.UTF8.GetBytes($"error: failed to solve: {ErrorText.Of(answer)}\n"));
        var expected = File.ReadAllBytes(Golden.Path("progress", "error", name, "stderr.txt"));
        Assert.Equal(Encoding.Latin1.GetString(expected), Encoding.Latin1.GetString(output.ToArray()));
    }
}
