// Tiles of a well as thumbnails.
import { ask, endpoint, pathOf, type Tile } from "./api";
import { useData } from "./hooks";
import { Nothing, Picture, Trouble, Waiting, metres, number } from "./parts";
import { addressOf } from "./route";

const MOST = 48;

export function pictureOf(tile: Tile, size: number): string {
  return `${pathOf(["iiif", tile.tile_id!])}/full/!${size},${size}/0/default.jpg?${new URLSearchParams({ well: tile.well! })}`;
}

export function Thumbnails(props: { well: string; depth: string | null; failed: boolean }) {
  const { well, depth, failed } = props;
  const { data, error, reload } = useData(`${well}\n${depth}\n${failed}`, () =>
    ask(
      endpoint.GET("/v1/wells/{well}/tiles", {
        params: {
          path: { well },
          query: { depth, status: failed ? "failed" : undefined, limit: MOST },
        },
      }),
    ),
  );
  if (error) return <Trouble error={error} retry={reload} />;
  if (!data) return <Waiting what="the tiles" />;
  const where = depth ? `${depth.replace(":", " – ")} m` : "all depths";
  if (!data.tiles.length)
    return (
      <Nothing>
        <p>
          No {failed ? "failed " : ""}tiles of {well} in {where}.
        </p>
      </Nothing>
    );
  return (
    <>
      <h2>
        {failed ? "Failed tiles" : "Tiles"} of {well}, {where}
      </h2>
      <ul class="thumbnails">
        {data.tiles.map((tile) => (
          <li key={tile.tile_id}>
            {tile.status === "ok" ? (
              <a href={addressOf("tile", { well, tile: tile.tile_id })}>
                <Picture path={pictureOf(tile, 200)} alt="" />
                <span>
                  {metres(tile.depth_m)} m, {number(tile.n_crystals)} crystals
                </span>
              </a>
            ) : (
              <div class="failed">
                <strong>{metres(tile.depth_m)} m: failed</strong>
                <span>{tile.error}</span>
                <code>{tile.uri}</code>
              </div>
            )}
          </li>
        ))}
      </ul>
      {data.next && <p>The first {MOST} are shown; zoom in and click a depth for others.</p>}
    </>
  );
}
