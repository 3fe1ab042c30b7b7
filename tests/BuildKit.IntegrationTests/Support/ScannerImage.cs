using System.Formats.Tar;
using System.Text;

namespace BuildKit.IntegrationTests.Support;

/// <summary>A scanner that makes bills of materials: it tells its environment and what it was given in the comment of an SPDX
/// document, which lists one file that is there and one that is not.</summary>
public static class ScannerImage
{
    private const string Script = """
        #!/bin/sh
        variables=$(tr '\0' '\n' < /proc/1/environ | sort | tr '\n' ';')
        core=$(ls -a /run/src/core | tr '\n' ' ')
        extras=$(ls /run/src/extras 2>/dev/null | tr '\n' ' ')
        test -w /tmp || exit 3
        for tree in /run/src/core/sbom /run/src/extras/*; do test ! -e $tree || ! touch $tree/x 2>/dev/null || exit 4; done
        cat > $BUILDKIT_SCAN_DESTINATION/sbom.spdx.json <<END
        {"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","subject":[],"predicate":{
        "spdxVersion":"SPDX-2.3","dataLicense":"CC0-1.0","SPDXID":"SPDXRef-DOCUMENT","name":"sbom","documentNamespace":"https://example.com/x",
        "comment":"$variables | $core | $extras","creationInfo":{"created":"2024-01-01T00:00:00Z","creators":["Tool: fake-1"]},
        "files":[{"fileName":"/hello.txt","SPDXID":"SPDXRef-File-hello","checksums":[{"algorithm":"SHA1","checksumValue":"0000000000000000000000000000000000000000"}],"licenseConcluded":"NOASSERTION","copyrightText":""},
        {"fileName":"nope.txt","SPDXID":"SPDXRef-File-nope","checksums":[{"algorithm":"SHA1","checksumValue":"0000000000000000000000000000000000000000"}],"copyrightText":""}],"packages":[]}}
        END
        """;

    /// <summary>Pushes the image; its name.</summary>
    public static async Task<string> PushAsync(DockerRegistry registry, string name = "tools/scan:v1", string script = Script)
    {
        using var tar = new MemoryStream();
        await using (var writer = new TarWriter(tar, TarEntryFormat.Pax, leaveOpen: true))
        {
            foreach (var (path, bytes) in new[] { ("bin/sh", await File.ReadAllBytesAsync("/bin/busybox")), ("scan", Encoding.UTF8.GetBytes(script + "\n")) })
                await writer.WriteEntryAsync(new PaxTarEntry(TarEntryType.RegularFile, path) { Mode = (UnixFileMode)0x1ED, DataStream = new MemoryStream(bytes) });
            foreach (var applet in new[] { "tr", "sort", "ls", "cat", "test", "touch" })
                await writer.WriteEntryAsync(new PaxTarEntry(TarEntryType.SymbolicLink, "bin/" + applet) { LinkName = "sh" });
        }
        await FrontendImage.PushAsync(registry, name, tar.ToArray(), """{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Entrypoint":["/scan"],"WorkingDir":"/"}""");
        return $"{registry.Host}/{name}";
    }
}
