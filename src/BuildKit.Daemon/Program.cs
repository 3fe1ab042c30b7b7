using System.Runtime.InteropServices;
using BuildKit.CommandLine;
using BuildKit.Daemon.Configuration;
using BuildKit.Daemon.Control;
using BuildKit.Daemon.Frontends.Stdio;
using BuildKit.Daemon.Hosting;
using BuildKit.Linux;
using Microsoft.Extensions.Logging;

return await Buildkitd.RunAsync(args);

/// <summary>The <c>buildkitd</c> program.</summary>
internal static class Buildkitd
{
    private const int ForcedAfter = 3;

    /// <summary>Runs until a signal ends it; returns the exit code.</summary>
    public static async Task<int> RunAsync(string[] arguments)
    {
        if (arguments is [DockerfileProgram.Command, .. var rest])
            return await DockerfileProgram.RunAsync(rest, CancellationToken.None);
        FlagValues flags;
        try
        {
            flags = new FlagSet(DaemonFlags.All).Parse(arguments);
        }
        catch (UsageException exception)
        {
            Console.Out.WriteLine($"Incorrect Usage: {exception.Message}\n");
            Console.Out.Write(DaemonHelp.Text());
            return Fail(exception.Message);
        }
        if (flags.HelpRequested)
        {
            Console.Out.Write(DaemonHelp.Text());
            return 0;
        }
        if (flags.Bool("version"))
        {
            Console.Out.WriteLine($"buildkitd {WorkerMessages.Package} {WorkerMessages.Version} ");
            return 0;
        }
        if (LinuxProcess.EffectiveUserId != 0)
            return Fail("rootless mode requires to be executed as the mapped root in a user namespace; you may use RootlessKit for setting up the namespace");
        PrivateMounts.Enter();
        LinuxProcess.SetUmask(0);
        ThreadPool.SetMinThreads(32, 32);
        using (var nothing = LinuxFile.Open("/dev/null", OpenFlags.ReadOnly))
            LinuxProcess.Redirect(nothing, 0);
        try
        {
            var config = DaemonFlags.Load(flags, LinuxProcess.InUserNamespace(), Groups.Find);
            if (config.LogFormat is not ("text" or "json" or ""))
                return Fail($"unsupported log type \"{config.LogFormat}\"");
            UnsupportedSettings.Refuse(config);
            return await RunAsync(config);
        }
        catch (Exception exception) when (exception is ConfigException or IOException or ArgumentException or InvalidOperationException or UnauthorizedAccessException)
        {
            return Fail(exception.Message);
        }
    }

    private static async Task<int> RunAsync(DaemonConfig config)
    {
        var level = config.Trace ? LogLevel.Trace : config.Debug ? LogLevel.Debug : LogLevel.Information;
        var filters = new LoggerFilterOptions { MinLevel = level };
        filters.AddFilter("Microsoft", LogLevel.Warning);
        using var logging = new LoggerFactory([new DaemonLog(level, config.LogFormat == "json", Console.Error)], filters);
        var log = logging.CreateLogger("buildkitd");
        if (config.OtelSocketIsChosen)
            log.LogWarning("the OTEL socket path has no effect: steps are not traced by this version");
        LinuxFile.MkdirAll(config.Root, Convert.ToUInt32("700", 8));
        using var instance = InstanceLock.Take(config.Root);

        using var stop = new CancellationTokenSource();
        var signals = 0;
        LinuxProcess.AcceptInterrupts();
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal);
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal);

        await using var daemon = await BuildDaemon.StartAsync(config, logging, stop.Token);
        await Systemd.NotifyAsync("READY=1");
        await Task.Delay(Timeout.Infinite, stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        log.LogInformation("stopping server");
        await Systemd.NotifyAsync("STOPPING=1");
        await daemon.StopAsync(CancellationToken.None);
        Console.Error.WriteLine("buildkitd: got 1 SIGTERM/SIGINTs, forcing shutdown");
        return 1;

        void OnSignal(PosixSignalContext context)
        {
            context.Cancel = true;
            if (Interlocked.Increment(ref signals) >= ForcedAfter)
            {
                log.LogError("got {Count} SIGTERM/SIGINTs, forcing shutdown", ForcedAfter);
                Environment.Exit(1);
            }
            stop.Cancel();
        }
    }

    private static int Fail(string message)
    {
        Console.Error.WriteLine("buildkitd: " + message);
        return 1;
    }
}
