using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using BuildKit.Oci;

namespace BuildKit.Client;

/// <summary>A running helper command as a stream: what is written goes to its input, its output is read (spec 08 §5.1).</summary>
internal sealed class HelperStream : ForwardStream
{
    private const int KeptErrorText = 4 << 10;
    private static readonly TimeSpan EndPatience = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan ExitPatience = TimeSpan.FromSeconds(10);

    private readonly Process _process;
    private readonly string _command;
    private readonly Task<string> _errorText;
    private bool _isDisposed;

    private HelperStream(Process process, string command)
        : base(FileAccess.ReadWrite)
    {
        _process = process;
        _command = command;
        _errorText = KeepErrorTextAsync(process.StandardError.BaseStream);
    }

    /// <summary>Starts a command in a session of its own, so that an interrupt at the terminal does not reach it.</summary>
    public static HelperStream Start(IReadOnlyList<string> command)
    {
        var start = new ProcessStartInfo { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false };
        start.FileName = File.Exists("/usr/bin/setsid") ? "/usr/bin/setsid" : command[0];
        for (var i = start.FileName == command[0] ? 1 : 0; i < command.Count; i++)
            start.ArgumentList.Add(command[i]);
        try
        {
            return new HelperStream(Process.Start(start)!, string.Join(' ', command));
        }
        catch (Win32Exception failure)
        {
            throw DialErrors.Unavailable($"transport: Error while dialing: exec: \"{command[0]}\": {failure.Message}", failure);
        }
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var length = await _process.StandardOutput.BaseStream.ReadAsync(buffer, cancellationToken);
        if (length == 0 && buffer.Length > 0)
            await ThrowIfFailedAsync();
        return length;
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        try
        {
            await _process.StandardInput.BaseStream.WriteAsync(buffer, cancellationToken);
        }
        catch (IOException)
        {
            // The command does not read any more: why it ended says more than that.
            await ThrowIfFailedAsync();
            throw;
        }
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => _process.StandardInput.BaseStream.FlushAsync(cancellationToken);

    public override async ValueTask DisposeAsync()
    {
        if (_isDisposed)
            return;
        _isDisposed = true;
        try
        {
            _process.StandardInput.Close();
        }
        catch (IOException)
        {
            // The command is gone already; there is nobody to tell.
        }
        using (var patience = new CancellationTokenSource(EndPatience))
        {
            try
            {
                await _process.WaitForExitAsync(patience.Token);
            }
            catch (OperationCanceledException)
            {
                _process.Kill(entireProcessTree: true);
                await _process.WaitForExitAsync(CancellationToken.None);
            }
        }
        await _errorText;
        _process.Dispose();
        await base.DisposeAsync();
    }

    private async Task ThrowIfFailedAsync()
    {
        using var patience = new CancellationTokenSource(ExitPatience);
        try
        {
            await _process.WaitForExitAsync(patience.Token);
        }
        catch (OperationCanceledException)
        {
            return;
        }
        if (_process.ExitCode == 0)
            return;
        var code = _process.ExitCode.ToString(CultureInfo.InvariantCulture);
        throw new IOException(
            $"error reading server preface: command [{_command}] has exited with exit status {code}, make sure the URL is valid, and Docker 18.09 or later is installed on the remote host: stderr={await _errorText}");
    }

    private static async Task<string> KeepErrorTextAsync(Stream source)
    {
        var kept = new MemoryStream();
        var buffer = new byte[KeptErrorText];
        int length;
        while ((length = await source.ReadAsync(buffer)) > 0)
        {
            kept.Write(buffer, 0, length);
            if (kept.Length > KeptErrorText)
            {
                var tail = kept.ToArray()[^KeptErrorText..];
                kept.SetLength(0);
                kept.Write(tail);
            }
        }
        return Encoding.UTF8.GetString(kept.ToArray());
    }
}
