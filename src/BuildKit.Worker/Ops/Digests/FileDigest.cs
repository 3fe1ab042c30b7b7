using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using FileAction = BuildKit.Protocol.Pb.FileAction;

namespace BuildKit.Worker.Ops.Digests;

/// <summary>Cache key of a file operation (spec 03 §8.4).</summary>
public static class FileDigest
{
    /// <summary>Computes the key.</summary>
    /// <param name="file">The operation; not changed.</param>
    /// <param name="inputCount">How many inputs the vertex has.</param>
    public static OpKey Compute(FileOp file, int inputCount)
    {
        var json = new CanonicalJsonWriter();
        json.WriteStartObject();
        json.WriteText("Type", "buildkit.file.v0");
        json.WriteName("Actions");
        json.WriteStartArray();
        foreach (var action in file.Actions)
            json.WriteBase64(Inner(action, inputCount));
        json.WriteEndArray();
        if (!HasDefaultIndexes(file))
        {
            json.WriteName("indexes");
            json.WriteStartArray();
            foreach (var action in file.Actions)
            {
                json.WriteStartArray();
                json.WriteNumber(action.Input);
                json.WriteNumber(action.SecondaryInput);
                json.WriteNumber(action.Output);
                json.WriteEndArray();
            }

            json.WriteEndArray();
        }

        json.WriteEndObject();
        return new OpKey(Digest.Sha256(json.WrittenSpan), Inputs(file, inputCount)) { Hashed = json.ToArray() };
    }

    /// <summary>One action alone. Where a copy takes its source from is in the input's selector, so only the last
    /// component, which may name the result, stays.</summary>
    private static ReadOnlySpan<byte> Inner(FileAction action, int inputCount)
    {
        var json = new CanonicalJsonWriter();
        switch (action.ActionCase)
        {
            case FileAction.ActionOneofCase.Copy:
                var copy = action.Copy;
                if (IsVertexInput(action.SecondaryInput, inputCount))
                {
                    copy = copy.Clone();
                    copy.Src = SlashPath.Base(copy.Src);
                }

                LlbJson.Write(json, copy);
                break;
            case FileAction.ActionOneofCase.Mkfile:
                LlbJson.Write(json, action.Mkfile);
                break;
            case FileAction.ActionOneofCase.Mkdir:
                LlbJson.Write(json, action.Mkdir);
                break;
            case FileAction.ActionOneofCase.Symlink:
                LlbJson.Write(json, action.Symlink);
                break;
            case FileAction.ActionOneofCase.Rm:
                LlbJson.Write(json, action.Rm);
                break;
            default:
                throw new LlbException("invalid file action with no kind");
        }

        return json.WrittenSpan;
    }

    /// <summary>Whether indices have the shape that was common when they were not hashed yet. The formula counts
    /// actions where it means inputs; keys depend on it as it is.</summary>
    private static bool HasDefaultIndexes(FileOp file)
    {
        var count = file.Actions.Count;
        for (var i = 0; i < count; i++)
        {
            var action = file.Actions[i];
            if (action.Input != (i == 0 ? 0 : count + i - 1)
                || action.SecondaryInput is not (-1 or 1)
                || action.Output != (i == count - 1 ? 0 : -1))
                return false;
        }

        return true;
    }

    private static InputKey[] Inputs(FileOp file, int inputCount)
    {
        var selected = new List<ContentSelector>?[inputCount];
        var changed = new bool[inputCount];
        foreach (var action in file.Actions)
        {
            if (IsVertexInput(action.Input, inputCount))
                changed[action.Input] = true;
            if (action.Copy is { } copy && IsVertexInput(action.SecondaryInput, inputCount))
            {
                Add(action.SecondaryInput, new ContentSelector(copy.Src, copy.FollowSymlink)
                {
                    Wildcard = copy.AllowWildcard && HasWildcard(copy.Src),
                    IncludePatterns = [.. copy.IncludePatterns],
                    ExcludePatterns = [.. copy.ExcludePatterns],
                });
            }

            var owner = action.Copy?.Owner ?? action.Mkfile?.Owner ?? action.Mkdir?.Owner;
            AddOwner(owner?.User, "/etc/passwd");
            AddOwner(owner?.Group, "/etc/group");
        }

        // The tree an action changes is known by what made it, never by content.
        return [.. selected.Select((selectors, i) => selectors is null || changed[i]
            ? new InputKey { NeedsUnlazy = true }
            : new InputKey
            {
                NeedsUnlazy = true,
                Selector = Digest.Sha256(string.Join('\0', selectors.Select(selector => selector.Path).OrderDescending(ByteOrder.Instance))),
                Content = Dedupe(selectors),
            })];

        void AddOwner(UserOpt? user, string database)
        {
            if (user?.ByName is { } name && IsVertexInput(name.Input, inputCount))
                Add(name.Input, new ContentSelector(database, FollowLinks: true));
        }

        void Add(long input, ContentSelector selector) => (selected[input] ??= []).Add(selector);
    }

    private static IReadOnlyList<ContentSelector> Dedupe(List<ContentSelector> selectors)
    {
        var kept = new List<ContentSelector>();
        foreach (var follow in new[] { false, true })
        {
            string[] paths = [.. selectors.Where(selector => selector.IsPlain && selector.FollowLinks == follow).Select(selector => selector.Path)];
            kept.AddRange(SelectorPaths.Dedupe(paths).Select(path => new ContentSelector(path, follow)));
        }

        kept.AddRange(selectors.Where(selector => !selector.IsPlain));
        return [.. kept.OrderBy(selector => selector.Path, ByteOrder.Instance)];
    }

    private static bool IsVertexInput(long index, int inputCount) => index >= 0 && index < inputCount;

    private static bool HasWildcard(string path)
    {
        for (var i = 0; i < path.Length; i++)
        {
            if (path[i] == '\\')
                i++;
            else if (path[i] is '*' or '?' or '[')
                return true;
        }

        return false;
    }
}
