namespace BuildKit.Worker.Executor;

/// <summary>A process ended with a code that is not valid for it.</summary>
public sealed class ExitException : Exception
{
    /// <summary>Makes the error of exit code <paramref name="code"/>; <paramref name="cause"/> says why there was none.</summary>
    public ExitException(int code, Exception? cause = null)
        : base(cause is null ? $"exit code: {code}" : code == NoCode ? cause.Message : $"exit code: {code}: {cause.Message}", cause) =>
        Code = code;

    /// <summary>Makes the error of a process the kernel killed for memory.</summary>
    public static ExitException OutOfMemory(int code) => new(code, "cannot allocate memory");

    private ExitException(int code, string message)
        : base(message) => Code = code;

    /// <summary>Code reported when there was no process to end with one.</summary>
    public const int NoCode = 255;

    /// <summary>The exit code; 128 + n for signal n.</summary>
    public int Code { get; }
}
