using System.Security.Cryptography;
using System.Text.Json;
using BuildKit.Linux;

namespace BuildKit.Session.Auth;

/// <summary>
/// Secret seeds per host in <c>.token_seed</c> of the configuration directory: they make a client's authority key stay
/// the same between builds (spec 01 §5.8). A directory that cannot be written is tolerated: seeds then last as long as this object.
/// </summary>
internal sealed class TokenSeeds(string directory)
{
    private const int SeedSize = 16;

    private readonly Lock _lock = new();
    private readonly Dictionary<string, byte[]> _seeds = new(StringComparer.Ordinal);

    public byte[] Get(string host)
    {
        lock (_lock)
        {
            if (_seeds.TryGetValue(host, out var known))
                return known;
            try
            {
                Directory.CreateDirectory(directory);
                using var guard = File.OpenHandle(Path.Combine(directory, ".token_seed.lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.ReadWrite);
                for (var attempt = 0; !LinuxFile.TryLock(guard) && attempt < 100; attempt++)
                    Thread.Sleep(10);
                return _seeds[host] = ReadOrAdd(host);
            }
            catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
            {
                return _seeds[host] = RandomNumberGenerator.GetBytes(SeedSize);
            }
        }
    }

    private byte[] ReadOrAdd(string host)
    {
        var path = Path.Combine(directory, ".token_seed");
        var all = Read(path);
        if (all.TryGetValue(host, out var seed))
            return seed;
        all[host] = seed = RandomNumberGenerator.GetBytes(SeedSize);
        var temporary = $"{path}.{Guid.NewGuid():N}.tmp";
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite };
        using (var file = new FileStream(temporary, options))
        using (var writer = new Utf8JsonWriter(file, new JsonWriterOptions { Indented = true, IndentSize = 2, NewLine = "\n" }))
        {
            writer.WriteStartObject();
            foreach (var (name, value) in all)
            {
                writer.WriteStartObject(name);
                writer.WriteBase64String("Seed", value);
                writer.WriteEndObject();
            }
            writer.WriteEndObject();
        }
        File.Move(temporary, path, overwrite: true);
        return seed;
    }

    private static SortedDictionary<string, byte[]> Read(string path)
    {
        var seeds = new SortedDictionary<string, byte[]>(StringComparer.Ordinal);
        if (!File.Exists(path))
            return seeds;
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(path));
            foreach (var entry in document.RootElement.EnumerateObject())
                seeds[entry.Name] = entry.Value.GetProperty("Seed").GetBytesFromBase64();
        }
        catch (Exception corrupt) when (corrupt is JsonException or KeyNotFoundException or FormatException or InvalidOperationException)
        {
            // A corrupt file is written anew (spec 07 §12.5).
            seeds.Clear();
        }
        return seeds;
    }
}
