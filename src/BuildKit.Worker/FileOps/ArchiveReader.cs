using System.Diagnostics;
using BuildKit.Oci;
using BuildKit.Storage.Layers.Compression;
using BuildKit.Storage.Layers.Tar;

namespace BuildKit.Worker.FileOps;

/// <summary>Archives that a copy may unpack: tar, plain or compressed with gzip, zstd, bzip2 or xz.</summary>
internal static class ArchiveReader
{
    /// <summary>Whether the first header parses as tar after decompression.</summary>
    internal static async ValueTask<bool> IsArchiveAsync(Stream file, CancellationToken cancellationToken)
    {
        try
        {
            await using var plain = await OpenAsync(file, cancellationToken).ConfigureAwait(false);
            return await new TarReader(plain).NextAsync(cancellationToken).ConfigureAwait(false) is not null;
        }
        catch (Exception e) when (e is TarFormatException or InvalidDataException)
        {
            return false;
        }
    }

    /// <summary>Opens the plain bytes of a seekable file at its start.</summary>
    internal static async ValueTask<Stream> OpenAsync(Stream file, CancellationToken cancellationToken)
    {
        var head = new byte[6];
        var length = await file.ReadAtLeastAsync(head, head.Length, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false);
        file.Position = 0;
        if (head.AsSpan(0, length).StartsWith("BZh"u8))
            return new FilterStream("bzip2", file);
        if (head.AsSpan(0, length).StartsWith((ReadOnlySpan<byte>)[0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0]))
            return new FilterStream("xz", file);
        return await LayerDecompression.OpenDetectedAsync(file, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>What a program decompresses (<c>-d -c -q</c>), fed from a stream that stays open.</summary>
    private sealed class FilterStream : ForwardStream
    {
        private readonly Process _process;
        private readonly CancellationTokenSource _stop = new();
        private readonly Task _feeding;
        private readonly Task<string> _errors;

        internal FilterStream(string program, Stream source)
            : base(FileAccess.Read)
        {
            var start = new ProcessStartInfo(program) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
            foreach (var argument in (string[])["-d", "-c", "-q"])
                start.ArgumentList.Add(argument);
            try
            {
                _process = Process.Start(start) ?? throw new IOException($"cannot start {program}");
            }
            catch (System.ComponentModel.Win32Exception e)
            {
                throw new NotSupportedException($"unpacking a {program} archive needs the program {program}: install it on the daemon's machine", e);
            }
            _errors = _process.StandardError.ReadToEndAsync(_stop.Token);
            _feeding = FeedAsync(source);
        }

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            var read = await _process.StandardOutput.BaseStream.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
            if (read > 0 || buffer.IsEmpty)
                return read;
            await _process.WaitForExitAsync(cancellationToken).ConfigureAwait(false);
            if (_process.ExitCode != 0)
                throw new InvalidDataException($"{_process.StartInfo.FileName}: exit code {_process.ExitCode}: {(await _errors.ConfigureAwait(false)).Trim()}");
            return 0;
        }

        public override async ValueTask DisposeAsync()
        {
            await _stop.CancelAsync().ConfigureAwait(false);
            if (!_process.HasExited)
                _process.Kill();
            await _feeding.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await ((Task)_errors).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await _process.WaitForExitAsync(CancellationToken.None).ConfigureAwait(false);
            _process.Dispose();
            _stop.Dispose();
            await base.DisposeAsync().ConfigureAwait(false);
        }

        /// <summary>A reader that has enough closes the pipe; that is no error of the archive.</summary>
        private async Task FeedAsync(Stream source)
        {
            try
            {
                await source.CopyToAsync(_process.StandardInput.BaseStream, _stop.Token).ConfigureAwait(false);
            }
            finally
            {
                _process.StandardInput.Close();
            }
        }
    }
}
