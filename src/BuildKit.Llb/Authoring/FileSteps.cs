using BuildKit.Protocol.Pb;
using Google.Protobuf;

namespace BuildKit.Llb;

/// <summary>One change of a file operation, on its way to its message.</summary>
internal abstract record FileStep
{
    /// <param name="action">Message to fill in; indices are set already.</param>
    /// <param name="directory">Working directory of the state the change is made on.</param>
    /// <param name="baseInput">Operation input to look names up in; -1 for scratch.</param>
    /// <param name="sourceDirectory">Working directory of a copy's source.</param>
    public abstract void Fill(Protocol.Pb.FileAction action, string directory, int baseInput, string sourceDirectory);

    protected static ChownOpt? Owner(FileOwner? owner, int baseInput) =>
        owner is null ? null : new ChownOpt { User = User(owner.User, baseInput), Group = User(owner.Group, baseInput) };

    protected static long Time(long? time) => time ?? -1;

    private static UserOpt? User(FileUser? user, int baseInput) => user switch
    {
        null => null,
        { Name.Length: > 0 } => new UserOpt { ByName = new NamedUserOpt { Name = user.Name, Input = baseInput } },
        _ => new UserOpt { ByID = (uint)user.Id },
    };
}

internal sealed record MkdirStep(string Path, int Mode, MkdirOptions Options) : FileStep
{
    public override void Fill(Protocol.Pb.FileAction action, string directory, int baseInput, string sourceDirectory) =>
        action.Mkdir = new FileActionMkDir
        {
            Path = SlashPath.Absolute(directory, Path, keepSlash: false),
            Mode = Mode & 0x1ff,
            MakeParents = Options.MakeParents,
            Owner = Owner(Options.Owner, baseInput),
            Timestamp = Time(Options.CreatedTime),
        };
}

internal sealed record MkfileStep(string Path, int Mode, ReadOnlyMemory<byte> Content, MkfileOptions Options) : FileStep
{
    public override void Fill(Protocol.Pb.FileAction action, string directory, int baseInput, string sourceDirectory) =>
        action.Mkfile = new FileActionMkFile
        {
            Path = SlashPath.Absolute(directory, Path, keepSlash: false),
            Mode = Mode & 0x1ff,
            Data = UnsafeByteOperations.UnsafeWrap(Content),
            Owner = Owner(Options.Owner, baseInput),
            Timestamp = Time(Options.CreatedTime),
        };
}

internal sealed record SymlinkStep(string OldPath, string NewPath, SymlinkOptions Options) : FileStep
{
    public override void Fill(Protocol.Pb.FileAction action, string directory, int baseInput, string sourceDirectory) =>
        action.Symlink = new FileActionSymlink
        {
            Oldpath = OldPath,
            Newpath = NewPath,
            Owner = Owner(Options.Owner, baseInput),
            Timestamp = Time(Options.CreatedTime),
        };
}

internal sealed record RemoveStep(string Path, RemoveOptions Options) : FileStep
{
    public override void Fill(Protocol.Pb.FileAction action, string directory, int baseInput, string sourceDirectory) =>
        action.Rm = new FileActionRm
        {
            Path = SlashPath.Absolute(directory, Path, keepSlash: false),
            AllowNotFound = Options.AllowNotFound,
            AllowWildcard = Options.AllowWildcard,
        };
}

internal sealed record CopyStep(CopySource Source, string From, string To, CopyOptions Options) : FileStep
{
    public override void Fill(Protocol.Pb.FileAction action, string directory, int baseInput, string sourceDirectory)
    {
        var from = SlashPath.Clean(From);
        var copy = new FileActionCopy
        {
            Src = SlashPath.Join(SlashPath.IsAbsolute(from) ? "/" : sourceDirectory, from),
            Dest = SlashPath.Absolute(directory, To, keepSlash: true),
            Owner = Owner(Options.Owner, baseInput),
            Mode = Options.ModeText.Length > 0 ? 0 : Options.Mode ?? -1,
            ModeStr = Options.ModeText,
            FollowSymlink = Options.FollowSymlinks,
            DirCopyContents = Options.CopyDirectoryContents,
            AttemptUnpackDockerCompatibility = Options.AttemptUnpack,
            CreateDestPath = Options.CreateDestinationPath,
            AllowWildcard = Options.AllowWildcard,
            AllowEmptyWildcard = Options.AllowEmptyWildcard,
            Timestamp = Time(Options.CreatedTime),
            AlwaysReplaceExistingDestPaths = Options.AlwaysReplaceExistingDestinationPaths,
        };
        copy.IncludePatterns.AddRange(Options.IncludePatterns);
        copy.ExcludePatterns.AddRange(Options.ExcludePatterns);
        action.Copy = copy;
    }
}
