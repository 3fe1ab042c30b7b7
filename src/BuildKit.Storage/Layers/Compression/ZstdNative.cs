using System.Runtime.InteropServices;
using BuildKit.Oci;

namespace BuildKit.Storage.Layers.Compression;

/// <summary>libzstd, version 1.4 or later.</summary>
internal static unsafe partial class ZstdNative
{
    private const string Library = "libzstd.so.1";

    internal const int CompressionLevel = 100;
    internal const int ChecksumFlag = 201;
    internal const int Workers = 400;
    internal const int Continue = 0;
    internal const int End = 2;

    [LibraryImport(Library)]
    internal static partial nint ZSTD_createCCtx();

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_freeCCtx(nint context);

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_CCtx_setParameter(nint context, int parameter, int value);

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_compressStream2(nint context, Buffer* output, Buffer* input, int operation);

    [LibraryImport(Library)]
    internal static partial nint ZSTD_createDCtx();

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_freeDCtx(nint context);

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_decompressStream(nint context, Buffer* output, Buffer* input);

    [LibraryImport(Library)]
    private static partial uint ZSTD_isError(nuint code);

    [LibraryImport(Library)]
    private static partial byte* ZSTD_getErrorName(nuint code);

    [StructLayout(LayoutKind.Sequential)]
    internal struct Buffer
    {
        public byte* Bytes;
        public nuint Size;
        public nuint Position;
    }

    internal static nuint Check(nuint code)
    {
        if (ZSTD_isError(code) != 0)
            throw new InvalidDataException("zstd: " + Marshal.PtrToStringUTF8((nint)ZSTD_getErrorName(code)));
        return code;
    }

    /// <summary>Makes a context; a missing library is named with what to install.</summary>
    internal static nint Create(Func<nint> create)
    {
        nint context;
        try
        {
            context = create();
        }
        catch (DllNotFoundException e)
        {
            throw new NotSupportedException($"zstd layers need {Library}: install the libzstd1 package", e);
        }
        return context != 0 ? context : throw new OutOfMemoryException("zstd: cannot allocate a context");
    }
}

/// <summary>Decompresses zstd frames, one after the other.</summary>
internal sealed class ZstdReadStream(Stream source) : ForwardStream(FileAccess.Read)
{
    private readonly byte[] _input = new byte[128 << 10];
    private nint _context = ZstdNative.Create(ZstdNative.ZSTD_createDCtx);
    private int _offset;
    private int _length;
    private bool _insideFrame;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (buffer.IsEmpty)
            return 0;
        while (true)
        {
            var atEnd = false;
            if (_offset == _length)
            {
                _offset = 0;
                _length = await source.ReadAsync(_input, cancellationToken).ConfigureAwait(false);
                atEnd = _length == 0;
            }
            var written = Decompress(buffer.Span);
            if (written > 0)
                return written;
            if (atEnd)
                return _insideFrame ? throw new InvalidDataException("zstd: unexpected EOF") : 0;
        }
    }

    private unsafe int Decompress(Span<byte> buffer)
    {
        fixed (byte* i = _input)
        fixed (byte* o = buffer)
        {
            var input = new ZstdNative.Buffer { Bytes = i, Size = (nuint)_length, Position = (nuint)_offset };
            var output = new ZstdNative.Buffer { Bytes = o, Size = (nuint)buffer.Length };
            var consumedAny = _offset < _length;
            var rest = ZstdNative.Check(ZstdNative.ZSTD_decompressStream(_context, &output, &input));
            if (consumedAny || output.Position > 0)
                _insideFrame = rest != 0;
            _offset = (int)input.Position;
            return (int)output.Position;
        }
    }

    public override int Read(Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            var atEnd = false;
            if (_offset == _length)
            {
                _offset = 0;
                _length = source.Read(_input);
                atEnd = _length == 0;
            }
            var written = Decompress(buffer);
            if (written > 0)
                return written;
            if (atEnd)
                return _insideFrame ? throw new InvalidDataException("zstd: unexpected EOF") : 0;
        }
        return 0;
    }

    protected override void Dispose(bool disposing)
    {
        if (_context != 0)
            _ = ZstdNative.ZSTD_freeDCtx(_context);
        _context = 0;
        base.Dispose(disposing);
    }
}
