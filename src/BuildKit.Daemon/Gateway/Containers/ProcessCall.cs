using BuildKit.Daemon.Errors;
using BuildKit.Protocol.Gateway;
using BuildKit.Protocol.Grpc;
using BuildKit.Worker.Executor;
using Google.Protobuf;

namespace BuildKit.Daemon.Gateway.Containers;

/// <summary>
/// One <c>ExecProcess</c> call: many processes over one stream of messages (spec 01 §6.3). For each process the frontend
/// is told Started, then what it prints, its Exit, the end of each output, and Done as the very last. A mistake of the
/// frontend ends the call at once; processes go on until their container is released.
/// </summary>
internal sealed class ProcessCall(GatewayBuild build, ServerStream<ExecMessage, ExecMessage> stream) : IAsyncDisposable
{
    private const uint UnknownExit = 255;

    private readonly Dictionary<string, Process> _processes = new(StringComparer.Ordinal);
    private readonly List<Task> _tasks = [];
    private readonly SemaphoreSlim _sending = new(1, 1);
    private readonly CancellationTokenSource _ended = new();

    /// <summary>Serves the call until the frontend has said its last word and all its processes are done.</summary>
    public async Task RunAsync()
    {
        while (await stream.ReadAsync(stream.CancellationToken) is { } message)
            await HandleAsync(message);
        await Task.WhenAll(_tasks);
    }

    /// <summary>Lets go of the processes' streams.</summary>
    public async ValueTask DisposeAsync()
    {
        await _ended.CancelAsync();
        foreach (var process in _processes.Values)
            process.Io.Abandon();
        await Task.WhenAll(_tasks).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _ended.Dispose();
    }

    private async Task HandleAsync(ExecMessage message)
    {
        if (message.ProcessID.Length == 0)
            throw new RpcException(StatusCode.InvalidArgument, "ProcessID required");
        if (message.InputCase == ExecMessage.InputOneofCase.Init)
        {
            await StartAsync(message.ProcessID, message.Init);
            return;
        }
        if (message.InputCase is not (ExecMessage.InputOneofCase.File or ExecMessage.InputOneofCase.Resize or ExecMessage.InputOneofCase.Signal))
            return;
        if (!_processes.TryGetValue(message.ProcessID, out var process))
            throw new RpcException(StatusCode.NotFound, $"IO for process \"{message.ProcessID}\" not found");
        switch (message.InputCase)
        {
            case ExecMessage.InputOneofCase.File:
                await process.WriteAsync(message.File, stream.CancellationToken);
                break;
            case ExecMessage.InputOneofCase.Resize:
                process.Io.Sizes.Writer.TryWrite(new TerminalSize((ushort)message.Resize.Rows, (ushort)message.Resize.Cols));
                break;
            default:
                process.Io.Signals.Writer.TryWrite(SignalNumbers.Find(message.Signal.Name)
                    ?? throw new RpcException(StatusCode.InvalidArgument, $"Unknown signal {message.Signal.Name}"));
                break;
        }
    }

    private async Task StartAsync(string id, InitMessage init)
    {
        if (_processes.ContainsKey(id))
            throw new RpcException(StatusCode.AlreadyExists, $"Process {id} already exists");
        var container = build.FindContainer(init.ContainerID);
        var io = new ContainerIo(init.Fds);
        _processes.Add(id, new Process(io));
        var run = await container.StartAsync(init, io, stream.CancellationToken);
        await SendAsync(new ExecMessage { ProcessID = id, Started = new StartedMessage() });
        _tasks.Add(FollowAsync(id, io, run));
    }

    private async Task FollowAsync(string id, ContainerIo io, Task run)
    {
        Task[] parts = [PassOnAsync(id, 1, io.Output), PassOnAsync(id, 2, io.Error), ExitAsync(id, io, run)];
        await Task.WhenAll(parts);
        await SendAsync(new ExecMessage { ProcessID = id, Done = new DoneMessage() });
    }

    private async Task PassOnAsync(string id, uint descriptor, ProcessOutput? output)
    {
        if (output is null)
            return;
        while (await output.ReadAsync(_ended.Token) is { Length: > 0 } chunk)
            await SendAsync(new ExecMessage { ProcessID = id, File = new FdMessage { Fd = descriptor, Data = UnsafeByteOperations.UnsafeWrap(chunk) } });
        await SendAsync(new ExecMessage { ProcessID = id, File = new FdMessage { Fd = descriptor, EOF = true } });
    }

    private async Task ExitAsync(string id, ContainerIo io, Task run)
    {
        var exit = new ExitMessage();
        try
        {
            // The process belongs to its container: when this call ends first, nobody here waits for it.
            await run.WaitAsync(_ended.Token);
        }
        catch (Exception exception) when (!_ended.IsCancellationRequested)
        {
            exit.Code = ExitCodeOf(exception) ?? UnknownExit;
            var error = ErrorMapper.Map(exception);
            exit.Error = new Protocol.Rpc.Status { Code = (int)error.Code, Message = exception.Message, Details = { error.Details } };
        }
        finally
        {
            if (run.IsCompleted)
                io.ProcessEnded();
        }
        await SendAsync(new ExecMessage { ProcessID = id, Exit = exit });
    }

    private static uint? ExitCodeOf(Exception exception)
    {
        for (Exception? e = exception; e is not null; e = e.InnerException)
            if (e is ExitException exit)
                return (uint)exit.Code;
        return null;
    }

    private async Task SendAsync(ExecMessage message)
    {
        await _sending.WaitAsync(_ended.Token);
        try
        {
            await stream.SendAsync(message, stream.CancellationToken);
        }
        finally
        {
            _sending.Release();
        }
    }

    /// <summary>A process as far as this call knows it.</summary>
    private sealed class Process(ContainerIo io)
    {
        private bool _inputEnded;

        public ContainerIo Io => io;

        /// <summary>Passes input on. A process that has ended meanwhile does not miss it.</summary>
        public async Task WriteAsync(FdMessage file, CancellationToken cancellationToken)
        {
            if (file.Fd != 0 || io.Input is null || _inputEnded)
                throw new RpcException(StatusCode.OutOfRange, $"fd {file.Fd} unavailable to write");
            if (file.Data.Length > 0)
                await io.Input.Writer.WriteAsync(file.Data.Memory, cancellationToken);
            if (!file.EOF)
                return;
            _inputEnded = true;
            await io.Input.Writer.CompleteAsync();
        }
    }
}
