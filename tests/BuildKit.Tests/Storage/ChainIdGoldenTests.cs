using System.Text.Json;
using BuildKit.Oci;
using BuildKit.Storage.Refs;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.Storage;

public sealed class ChainIdGoldenTests
{
    public static TheoryData<string> Cases => [.. Golden.Index("layers", "cases", "chains").Select(c => c.GetProperty("file").GetString()!)];

    [GoldenTheory]
    [MemberData(nameof(Cases))]
    public void Chain_ids_are_those_of_the_reference(string name)
    {
        using var document = JsonDocument.Parse(File.ReadAllBytes(Golden.Path("layers", name)));
        var ids = default(ChainIds);
        foreach (var layer in document.RootElement.GetProperty("layers").EnumerateArray())
        {
            ids = ids.Add(Digest.Parse(layer.GetProperty("blob").GetString()!), Digest.Parse(layer.GetProperty("diffID").GetString()!));
            Assert.Equal(layer.GetProperty("chainID").GetString(), ids.ChainId.ToString());
            Assert.Equal(layer.GetProperty("blobChainID").GetString(), ids.BlobChainId.ToString());
        }

        Assert.False(ids.IsEmpty);
    }
}
