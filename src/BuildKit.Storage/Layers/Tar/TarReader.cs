using BuildKit.Linux;

namespace BuildKit.Storage.Layers.Tar;

/// <summary>
/// Reads tar archives of every dialect that occurs in images: V7, USTAR, STAR, PAX, GNU (long names, base-256
/// numbers) and the sparse formats of GNU and PAX. The archive ends at two zero blocks, at the end of the stream
/// on a block boundary, or inside the padding of the last entry; what follows is left unread.
/// </summary>
/// <remarks>Limits: meta entries (PAX records, long names) of at most 1 MiB, sparse maps of at most 1 MiB.</remarks>
public sealed class TarReader(Stream source)
{
    private const int BlockSize = TarHeaderEncoder.BlockSize;
    private const int MaxMeta = 1 << 20;

    private readonly byte[] _block = new byte[BlockSize];
    private long _physical; // content bytes of the current entry still in the stream
    private int _padding;
    private SparseMap? _sparse;
    private long _sparsePosition;
    private long _logicalLeft;

    /// <summary>The next entry, or null at the end. Unread content of the current one is skipped.</summary>
    /// <exception cref="TarFormatException">A header is damaged, or the stream ends inside an entry.</exception>
    public async ValueTask<TarHeader?> NextAsync(CancellationToken cancellationToken)
    {
        var pax = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        string? longName = null;
        string? longLink = null;
        while (true)
        {
            if (!await SkipRestAsync(cancellationToken).ConfigureAwait(false) || !await ReadHeaderBlockAsync(cancellationToken).ConfigureAwait(false))
                return null;
            var raw = TarHeaderParser.Parse(_block);
            var meta = raw.Header.Type is TarType.PaxEntry or TarType.PaxGlobal or TarType.GnuLongName or TarType.GnuLongLink;
            SetContent(raw.Header.Type, raw.Header.Size);
            if (!meta)
            {
                var header = TarHeaderParser.Merge(raw.Header, pax, longName, longLink);
                if (raw.Header.Type != TarType.GnuSparse && header.Size != raw.Header.Size)
                    SetContent(header.Type, header.Size);
                return await OpenContentAsync(header, raw, pax, cancellationToken).ConfigureAwait(false);
            }
            if (raw.Header.Size > MaxMeta)
                throw new TarFormatException($"archive/tar: header field too long: {raw.Header.Size} bytes of {(char)raw.Header.Type} records, at most {MaxMeta} are read");
            var data = await ReadMetaAsync((int)raw.Header.Size, cancellationToken).ConfigureAwait(false);
            switch (raw.Header.Type)
            {
                case TarType.PaxEntry:
                    pax = TarHeaderParser.ParseRecords(data);
                    break;
                case TarType.PaxGlobal:
                    _ = TarHeaderParser.ParseRecords(data);
                    return raw.Header with { Size = 0 };
                case TarType.GnuLongName:
                    longName = TarHeaderParser.Text(data);
                    break;
                default:
                    longLink = TarHeaderParser.Text(data);
                    break;
            }
        }
    }

    /// <summary>Content of the current entry, holes as zeros; 0 at its end.</summary>
    public async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        if (_sparse is not null)
            return await ReadSparseAsync(_sparse, buffer, cancellationToken).ConfigureAwait(false);
        if (_physical == 0 || buffer.IsEmpty)
            return 0;
        var read = await source.ReadAsync(buffer[..(int)Math.Min(buffer.Length, _physical)], cancellationToken).ConfigureAwait(false);
        if (read == 0)
            throw TarFormatException.UnexpectedEnd();
        _physical -= read;
        return read;
    }

    /// <summary>Passes over the hole of a sparse file at the current position; its length, 0 where there is content. A hole may be larger
    /// than any disk: whoever writes the file need not write it.</summary>
    public long SkipHole()
    {
        if (_sparse is null || _logicalLeft == 0)
            return 0;
        var (length, isData) = _sparse.RunAt(_sparsePosition);
        if (isData)
            return 0;
        var hole = Math.Min(length, _logicalLeft);
        _sparsePosition += hole;
        _logicalLeft -= hole;
        return hole;
    }

    private void SetContent(byte type, long size)
    {
        if (size < 0)
            throw TarFormatException.InvalidHeader();
        _physical = TarType.IsHeaderOnly(type) ? 0 : size;
        _padding = TarHeaderEncoder.Padding(_physical);
        _sparse = null;
        _logicalLeft = 0;
    }

    /// <summary>False when the stream ends in the padding.</summary>
    private async ValueTask<bool> SkipRestAsync(CancellationToken cancellationToken)
    {
        if (_physical > 0)
        {
            var buffer = new byte[(int)Math.Min(_physical, 64 << 10)];
            while (_physical > 0)
            {
                var read = await source.ReadAsync(buffer.AsMemory(0, (int)Math.Min(buffer.Length, _physical)), cancellationToken).ConfigureAwait(false);
                if (read == 0)
                    throw TarFormatException.UnexpectedEnd();
                _physical -= read;
            }
        }
        var padding = _padding;
        _padding = 0;
        return padding == 0 || await source.ReadAtLeastAsync(_block.AsMemory(0, padding), padding, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false) == padding;
    }

    /// <summary>False at the end of the archive.</summary>
    private async ValueTask<bool> ReadHeaderBlockAsync(CancellationToken cancellationToken)
    {
        if (!await ReadBlockAsync(cancellationToken).ConfigureAwait(false))
            return false;
        if (_block.AsSpan().ContainsAnyExcept((byte)0))
            return true;
        if (!await ReadBlockAsync(cancellationToken).ConfigureAwait(false))
            return false;
        return _block.AsSpan().ContainsAnyExcept((byte)0) ? throw TarFormatException.InvalidHeader() : false;
    }

    private async ValueTask<bool> ReadBlockAsync(CancellationToken cancellationToken)
    {
        var read = await source.ReadAtLeastAsync(_block, BlockSize, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false);
        return read switch
        {
            BlockSize => true,
            0 => false,
            _ => throw TarFormatException.UnexpectedEnd(),
        };
    }

    private async ValueTask<byte[]> ReadMetaAsync(int size, CancellationToken cancellationToken)
    {
        var data = new byte[size];
        if (await source.ReadAtLeastAsync(data, size, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false) != size)
            throw TarFormatException.UnexpectedEnd();
        _physical = 0;
        return data;
    }

    private async ValueTask<TarHeader> OpenContentAsync(TarHeader header, TarHeaderParser.RawHeader raw, Dictionary<string, byte[]> pax, CancellationToken cancellationToken)
    {
        SparseMap? map = null;
        if (raw.Header.Type == TarType.GnuSparse)
            map = await ReadGnuSparseAsync(raw, cancellationToken).ConfigureAwait(false);
        else if (!TarType.IsHeaderOnly(header.Type) && SparseMap.PaxVersion(pax) is { } version)
            map = version == 1 ? await ReadPaxSparseAsync(pax, cancellationToken).ConfigureAwait(false) : SparseMap.FromPax(pax);
        if (map is null)
            return header;
        map.Validate(_physical);
        _sparse = map;
        _sparsePosition = 0;
        _logicalLeft = map.Size;
        var name = pax.TryGetValue("GNU.sparse.name", out var sparseName) ? LinuxText.Decode(sparseName) : header.Name;
        return header with { Size = map.Size, Name = name, Type = header.Type == TarType.GnuSparse ? TarType.Regular : header.Type };
    }

    private async ValueTask<SparseMap> ReadGnuSparseAsync(TarHeaderParser.RawHeader raw, CancellationToken cancellationToken)
    {
        var map = new SparseMap(raw.GnuRealSize);
        var more = map.AddGnuEntries(_block.AsSpan(386, 4 * 24), _block[482]);
        while (more)
        {
            if (!await ReadBlockAsync(cancellationToken).ConfigureAwait(false))
                throw TarFormatException.UnexpectedEnd();
            more = map.AddGnuEntries(_block.AsSpan(0, 21 * 24), _block[504]);
            if (map.Count > MaxMeta / 24)
                throw TarFormatException.InvalidHeader();
        }
        return map;
    }

    /// <summary>Version 1.0: the map stands as decimal lines at the start of the content, padded to a block.</summary>
    private async ValueTask<SparseMap> ReadPaxSparseAsync(Dictionary<string, byte[]> pax, CancellationToken cancellationToken)
    {
        var text = new List<byte>();
        async ValueTask<long> NextNumber()
        {
            while (true)
            {
                var end = text.IndexOf((byte)'\n');
                if (end >= 0)
                {
                    var number = TarHeaderParser.Decimal(text.GetRange(0, end).ToArray());
                    text.RemoveRange(0, end + 1);
                    return number;
                }
                if (_physical < BlockSize || text.Count > MaxMeta)
                    throw TarFormatException.InvalidHeader();
                if (!await ReadBlockAsync(cancellationToken).ConfigureAwait(false))
                    throw TarFormatException.UnexpectedEnd();
                _physical -= BlockSize;
                text.AddRange(_block);
            }
        }

        var map = new SparseMap(SparseMap.PaxRealSize(pax));
        var count = await NextNumber().ConfigureAwait(false);
        if (count is < 0 or > MaxMeta / 8)
            throw TarFormatException.InvalidHeader();
        for (long i = 0; i < count; i++)
        {
            var offset = await NextNumber().ConfigureAwait(false);
            map.Add(offset, await NextNumber().ConfigureAwait(false));
        }
        return map;
    }

    private async ValueTask<int> ReadSparseAsync(SparseMap map, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        if (_logicalLeft == 0 || buffer.IsEmpty)
            return 0;
        var (length, isData) = map.RunAt(_sparsePosition);
        var wanted = (int)Math.Min(Math.Min(buffer.Length, length), _logicalLeft);
        if (isData)
        {
            wanted = await source.ReadAsync(buffer[..wanted], cancellationToken).ConfigureAwait(false);
            if (wanted == 0)
                throw TarFormatException.UnexpectedEnd();
            _physical -= wanted;
        }
        else
        {
            buffer.Span[..wanted].Clear();
        }
        _sparsePosition += wanted;
        _logicalLeft -= wanted;
        return wanted;
    }
}
