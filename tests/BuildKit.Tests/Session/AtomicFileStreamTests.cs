using BuildKit.Session.FileSend;

namespace BuildKit.Tests.Session;

public sealed class AtomicFileStreamTests
{
    [Fact]
    public void A_device_is_written_to_and_never_replaced()
    {
        var directory = Directory.CreateTempSubdirectory("atomic-");
        try
        {
            // Through a link: were it replaced, only the link would be gone.
            var path = Path.Combine(directory.FullName, "nowhere");
            File.CreateSymbolicLink(path, "/dev/null");
            using (var file = AtomicFileStream.Create(path))
            {
                file.Write("x"u8);
                file.Commit();
            }
            Assert.Equal("/dev/null", new FileInfo(path).LinkTarget);
            using (AtomicFileStream.Create(path))
            {
                // Given up.
            }
            Assert.Equal("/dev/null", new FileInfo(path).LinkTarget);
            Assert.Single(directory.GetFileSystemInfos());
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }
}
