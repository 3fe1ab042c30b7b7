using System.Buffers;
using BuildKit.Linux;
using BuildKit.Storage.Layers.Tar;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Storage.Layers;

/// <summary>
/// Writes the layer tar of a sequence of changes (spec 06 §3.1): whiteouts, hard links by first recorded name,
/// missing parents, capabilities. The bytes are those of the reference.
/// </summary>
internal sealed class LayerTarWriter : IDisposable
{
    internal const string WhiteoutPrefix = ".wh.";
    private const string Capability = "security.capability";

    private readonly Stream _output;
    private readonly SafeFileHandle _root;
    private readonly UnixTime? _latest;
    private readonly HashSet<string> _directories = new(StringComparer.Ordinal);
    private readonly Dictionary<ulong, string> _linkSources = [];
    private readonly Dictionary<ulong, List<string>> _pendingLinks = [];
    private byte[] _buffer = ArrayPool<byte>.Shared.Rent(BufferSize);
    private int _buffered;

    private const int BufferSize = 256 << 10;

    /// <param name="output">Where the tar goes; stays open.</param>
    /// <param name="root">Root of the upper tree, where contents and parents are read.</param>
    /// <param name="latest">Upper bound of modification times.</param>
    internal LayerTarWriter(Stream output, SafeFileHandle root, UnixTime? latest)
    {
        _output = output;
        _root = root;
        _latest = latest;
    }

    internal async ValueTask WriteAsync(LayerChange change, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (change.Kind == ChangeKind.Delete)
        {
            var slash = change.Path.LastIndexOf('/') + 1;
            var name = string.Concat(change.Path.AsSpan(0, slash), WhiteoutPrefix, change.Path.AsSpan(slash));
            await WriteParentsAsync(name, cancellationToken).ConfigureAwait(false);
            await WriteBytesAsync(TarHeaderEncoder.Encode(new TarHeader { Name = name }), cancellationToken).ConfigureAwait(false);
            return;
        }
        var stat = change.Stat;
        if (stat.Type == UnixMode.Socket)
            return;
        List<string>? links = null;
        var header = Header(change.Path, stat);
        if (stat.Links > 1 && !stat.IsDirectory)
        {
            if (_linkSources.TryGetValue(stat.Inode, out var source))
            {
                header = header with { Type = TarType.HardLink, LinkName = source, Size = 0 };
            }
            else if (change.Kind == ChangeKind.Unmodified)
            {
                if (!_pendingLinks.TryGetValue(stat.Inode, out var names))
                    _pendingLinks.Add(stat.Inode, names = []);
                names.Add(change.Path);
                return;
            }
            else
            {
                _linkSources.Add(stat.Inode, change.Path);
                _pendingLinks.Remove(stat.Inode, out links);
            }
        }
        else if (change.Kind == ChangeKind.Unmodified)
        {
            return;
        }
        if (Xattr.Get(_root, change.Path, Capability) is { } capability)
            header = header with { Xattrs = new Dictionary<string, byte[]>(StringComparer.Ordinal) { [Capability] = capability } };
        await WriteParentsAsync(change.Path, cancellationToken).ConfigureAwait(false);
        if (stat.IsDirectory)
            _directories.Add(change.Path);
        await WriteBytesAsync(TarHeaderEncoder.Encode(header), cancellationToken).ConfigureAwait(false);
        if (header.Type == TarType.Regular && header.Size > 0)
            await WriteContentAsync(change.Path, header.Size, cancellationToken).ConfigureAwait(false);
        foreach (var name in links ?? [])
        {
            await WriteParentsAsync(name, cancellationToken).ConfigureAwait(false);
            var link = header with { Name = name, Type = TarType.HardLink, LinkName = change.Path, Size = 0 };
            await WriteBytesAsync(TarHeaderEncoder.Encode(link), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Writes the two zero blocks at the end and everything still buffered.</summary>
    internal async ValueTask CompleteAsync(CancellationToken cancellationToken)
    {
        await WriteBytesAsync(new byte[2 * TarHeaderEncoder.BlockSize], cancellationToken).ConfigureAwait(false);
        await FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    public void Dispose()
    {
        if (_buffer.Length > 0)
            ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = [];
    }

    private TarHeader Header(string path, in FileStat stat)
    {
        var type = stat.Type switch
        {
            UnixMode.Regular => TarType.Regular,
            UnixMode.Directory => TarType.Directory,
            UnixMode.Symlink => TarType.Symlink,
            UnixMode.Char => TarType.Char,
            UnixMode.Block => TarType.Block,
            UnixMode.Fifo => TarType.Fifo,
            _ => throw new IOException($"write layer: {path}: file mode {Convert.ToString(stat.Mode, 8)} has no tar type"),
        };
        var mtime = stat.Mtime with { Nanoseconds = 0 };
        if (_latest is { } latest && latest < stat.Mtime)
            mtime = latest with { Nanoseconds = 0 };
        return new TarHeader
        {
            Name = stat.IsDirectory ? path + "/" : path,
            LinkName = stat.IsSymlink ? LinuxFile.ReadLink(_root, path) : "",
            Type = type,
            Mode = stat.Permissions,
            Uid = stat.Uid,
            Gid = stat.Gid,
            Size = stat.IsRegular ? stat.Size : 0,
            Mtime = mtime,
            DevMajor = stat.IsDevice ? stat.RdevMajor : 0,
            DevMinor = stat.IsDevice ? stat.RdevMinor : 0,
        };
    }

    /// <summary>Writes each ancestor that has no entry yet, outermost first; the root never gets one.</summary>
    private async ValueTask WriteParentsAsync(string path, CancellationToken cancellationToken)
    {
        var slash = path.LastIndexOf('/');
        if (slash <= 0)
            return;
        var parent = path[..slash];
        if (_directories.Contains(parent))
            return;
        await WriteAsync(new LayerChange(ChangeKind.Modify, parent, LinuxFile.Lstat(_root, parent)), cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask WriteContentAsync(string path, long size, CancellationToken cancellationToken)
    {
        using var file = LinuxFile.Open(_root, path, OpenFlags.ReadOnly | OpenFlags.NoFollow);
        for (long offset = 0; offset < size;)
        {
            if (_buffered == BufferSize)
                await FlushAsync(cancellationToken).ConfigureAwait(false);
            var space = _buffer.AsSpan(_buffered, (int)Math.Min(BufferSize - _buffered, size - offset));
            var read = RandomAccess.Read(file, space, offset);
            if (read == 0)
                throw new IOException($"write layer: {path}: short write copying file: {offset} of {size} bytes");
            _buffered += read;
            offset += read;
        }
        var padding = TarHeaderEncoder.Padding(size);
        if (padding > 0)
            await WriteBytesAsync(new byte[padding], cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask WriteBytesAsync(byte[] bytes, CancellationToken cancellationToken)
    {
        if (bytes.Length > BufferSize - _buffered)
            await FlushAsync(cancellationToken).ConfigureAwait(false);
        if (bytes.Length > BufferSize)
        {
            await _output.WriteAsync(bytes, cancellationToken).ConfigureAwait(false);
            return;
        }
        bytes.CopyTo(_buffer, _buffered);
        _buffered += bytes.Length;
    }

    private async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        if (_buffered > 0)
            await _output.WriteAsync(_buffer.AsMemory(0, _buffered), cancellationToken).ConfigureAwait(false);
        _buffered = 0;
    }
}
